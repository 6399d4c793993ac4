// S31: a whole flow at the most talkative log level, then a search of all that was said and stored for every secret
// that was ever on the wire.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import * as ts from './clients/typescript.mjs';
import { sleep } from './kit.mjs';
import { harvest, leaks } from './harvest.mjs';
import { startMock } from './parts/mock.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { answer } from './parts/tap.mjs';
import { scene } from './vestibule.mjs';

function everythingBelow(dir) {
  return readdirSync(dir, { recursive: true })
    .map((name) => path.join(dir, name))
    .filter((file) => statSync(file).isFile() && !/vestibule\.toml$|master\.key$/.test(file))
    .map((file) => readFileSync(file, 'latin1'))
    .join('\n');
}

const TRACE = { settings: { telemetry: { log: 'trace' } }, store: { kind: 'sled' } };

test('s31: a login, calls, refused credentials and broken answers leave no secret in any output or file', { timeout: 90_000 }, async (t) => {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const { server, provider } = await scene(t, { provider: (at) => startOidc({ ...at, alwaysRefresh: true }), target: echo.url, ...TRACE });

  // A public client, all the way; then its spent code again, its token on a wrong path, its token cut short.
  const { client, keeper, answer: got } = await ts.login(server.resource(), new Browser());
  await client.callTool({ name: 'headers', arguments: {} });
  await client.close();
  const token = (fields, headers = {}) => fetch(`${server.publicUrl}/token`, { method: 'POST', headers, body: new URLSearchParams(fields) });
  const spent = { grant_type: 'authorization_code', code: got.get('code'), redirect_uri: String(keeper.redirectUrl), client_id: keeper.information.client_id, code_verifier: keeper.verifier };
  assert.equal((await token(spent)).status, 400);
  await token({ ...spent, code_verifier: `${keeper.verifier}x` });
  await token({ grant_type: 'refresh_token', refresh_token: keeper.issued.refresh_token, client_id: keeper.information.client_id });
  await fetch(`${server.publicUrl}/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(spent).slice(0, -1) });
  for (const at of ['/mcp', '/elsewhere']) {
    for (const bearer of [keeper.issued.access_token, keeper.issued.access_token.slice(0, -4), keeper.issued.refresh_token]) {
      await fetch(server.resource(at), { method: 'POST', headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' }, body: '{' });
    }
  }
  await fetch(`${server.resource()}?access_token=${keeper.issued.access_token}`);

  // A confidential client, both ways of showing its secret, and the wrong secret.
  const redirect = 'http://127.0.0.1:9/callback';
  const registered = await (await fetch(`${server.publicUrl}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'Confidential', redirect_uris: [redirect], token_endpoint_auth_method: 'client_secret_basic' }),
  })).json();
  assert.ok(registered.client_secret);
  const basic = (secret) => ({ authorization: `Basic ${Buffer.from(`${encodeURIComponent(registered.client_id)}:${encodeURIComponent(secret)}`).toString('base64')}` });
  const { client_id: _, ...anonymous } = { ...spent, redirect_uri: redirect };
  const refused = await token(anonymous, basic(`${registered.client_secret}x`));
  assert.equal(refused.status, 401);
  await token(anonymous, basic(registered.client_secret));
  await token({ ...spent, client_id: registered.client_id, client_secret: registered.client_secret });

  // A callback reopened, and one in a foreign browser.
  const callback = server.tap.to('/callback/idp')[0];
  await fetch(`${server.publicUrl}${callback.url}`, { redirect: 'manual' });

  await sleep(300); // what is written late is written now
  const secrets = harvest(server.tap, provider.tap);
  secrets.set(provider.clientSecret, 'the secret at the provider');
  secrets.set(readFileSync(path.join(server.dir, 'master.key'), 'utf8').trim(), 'the master key');
  secrets.set(registered.client_secret, 'the secret of the confidential client');
  const kinds = new Set([...secrets.values()].map((from) => from.split(' ').at(-1)));
  for (const kind of ['code', 'code_verifier', 'access_token', 'refresh_token', 'id_token', 'state']) assert.ok(kinds.has(kind), `the search knows a ${kind}`);

  assert.ok(server.output().length > 2_000, 'the log was talkative');
  await server.stop();
  assert.deepEqual(leaks(secrets, server.output()), [], 'in the output');
  // What the operator wrote is not ours to hide; everything we wrote is.
  assert.deepEqual(leaks(secrets, everythingBelow(server.dir)), [], 'in the files');
});

test('s31: a provider whose broken answers carry tokens cannot make them show up', { timeout: 90_000 }, async (t) => {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const { server, provider } = await scene(t, { provider: startMock, target: echo.url, ...TRACE });
  const secret = `leak-${crypto.randomUUID()}`;
  const broken = [
    answer(200, `{"access_token":"${secret}","token_type":"Bearer","expires_in":`),
    answer(200, `access_token=${secret}&token_type=bearer`, { 'content-type': 'text/plain' }),
    answer(200, { access_token: secret, token_type: 'Bearer', id_token: `${secret}.${secret}.${secret}` }),
    answer(400, { error: 'invalid_grant', access_token: secret }),
    answer(500, `<pre>stack with ${secret}</pre>`, { 'content-type': 'text/html' }),
  ];
  for (const act of broken) {
    provider.tap.fail('/token', act);
    const keeper = await ts.wallet();
    await ts.begin(server.resource(), keeper);
    const { callback, page } = await new Browser().walk(keeper.authorizeUrl, { callback: keeper.redirectUrl });
    assert.ok(!callback?.searchParams.has('code'));
    assert.ok(!`${callback} ${page?.body}`.includes(secret), 'nor in what people see');
    provider.tap.heal();
  }
  await server.stop();
  assert.deepEqual(leaks(new Map([[secret, 'what the provider sent']]), server.output()), []);
});
