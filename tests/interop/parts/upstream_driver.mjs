// The "client under test" of the official suite is vestibule here, as far as it is a client: of the authorization server
// that the suite plays. Somebody has to log in for that to begin, which is this program. Its argument is the suite's MCP
// server, its word to the suite is its exit code.
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { Browser } from '../browser.mjs';
import * as ts from '../clients/typescript.mjs';
import { freePort, scratch } from '../kit.mjs';
import { plan, startVestibule } from '../vestibule.mjs';

const target = process.argv[2];
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const ends = [];
const t = { after: (end) => ends.unshift(end) };

// Where an operator looks up who the issuer of that server is.
const { origin, pathname } = new URL(target);
const { authorization_servers: [issuer] } = await (await fetch(`${origin}/.well-known/oauth-protected-resource${pathname}`)).json();

// It knows no people, so they are told of elsewhere.
const people = http.createServer((request, response) => response.setHeader('content-type', 'application/json').end('{"sub":"alice"}'));
const port = await freePort();
await new Promise((resolve) => people.listen(port, '127.0.0.1', resolve));
t.after(() => people.close());

const file = path.join(scratch(t), 'suite.toml');
writeFileSync(file, `name = "suite"\ntitle = "The suite"\nprotocol = "oauth"\n[token]\nrefresh = "absent"\n[identity]\nsource = "userinfo"\n`);
let outcome;
const keeper = await ts.wallet();
const server = await startVestibule(t, await plan(t), {
  upstream: {
    suite: {
      provider_file: file,
      issuer,
      client_id: context.client_id ?? 'vestibule-app',
      ...(context.client_secret ? { client_secret: context.client_secret } : { client_auth: 'none' }),
      endpoints: { userinfo: `http://127.0.0.1:${port}/` },
    },
  },
  resource: { target },
}).catch((error) => {
  console.log(`never started: ${error.message}`);
  process.exit(2);
});
try {
  const { client } = await ts.login(server.resource(), new Browser(), { keeper });
  const { tools } = await client.listTools();
  if (tools.length) await client.callTool({ name: tools[0].name, arguments: {} });
  await client.close();
  outcome = 'logged in, and called';
} catch (error) {
  // On the newer wire this SDK has nothing to say to the suite's MCP server, which is not what is judged here.
  outcome = `${keeper.issued ? 'logged in' : 'refused'}: ${error.message}`;
} finally {
  for (const end of ends) await end();
}
console.log(outcome.split('\n')[0]);
process.exit(keeper.issued ? 0 : 1);
