// MCP servers with authorization servers of their own: nothing of ours on either side. For `vestibule login`.
import http from 'node:http';
import path from 'node:path';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { Provider } from 'oidc-provider';
import { Child, Died, freePort, MODULES, until } from '../kit.mjs';

/** The example of the TypeScript SDK: its own authorization server, its own resource server, tokens for an hour and no refresh. */
export async function startSdkExample() {
  const [port, authPort] = [await freePort(), await freePort()];
  const child = new Child(
    process.execPath,
    [path.join(MODULES, '@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js'), '--oauth-strict', '--oauth'],
    { env: { MCP_PORT: String(port), MCP_AUTH_PORT: String(authPort) }, name: 'the SDK example' },
  );
  const url = `http://localhost:${port}/mcp`;
  await until('the SDK example to listen', async () => {
    if (child.ended) throw new Died(child);
    return (await fetch(url, { method: 'POST' })).status === 401;
  });
  return { url, child, stop: () => child.stop('SIGKILL') };
}

/** A strict provider that registers clients, has the device grant and binds tokens to a resource; an MCP server that asks it about them. */
export async function startOwnProvider() {
  const [port, asPort] = [await freePort(), await freePort()];
  const issuer = `http://localhost:${asPort}`;
  const url = `http://localhost:${port}/mcp`;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const provider = quietly(() => new Provider(issuer, {
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: 'rs-1' }] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    scopes: ['openid', 'offline_access', 'notes'],
    features: {
      devInteractions: { enabled: true },
      // Its own page has the button outside of the form, where the stand-in of a browser does not look.
      deviceFlow: { enabled: true, userCodeConfirmSource: (ctx, form) => { ctx.body = form.replace('</form>', '<button type="submit">Continue</button></form>'); } },
      registration: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => url,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: 'notes', audience: url, accessTokenFormat: 'opaque', accessTokenTTL: 600 }),
      },
    },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    ttl: { AccessToken: 600, AuthorizationCode: 60, DeviceCode: 60, RefreshToken: 86_400, Interaction: 600, Session: 86_400, Grant: 86_400, IdToken: 600 },
  }));
  const as = http.createServer(provider.callback());
  await new Promise((resolve) => as.listen(asPort, '127.0.0.1', resolve));

  const seen = [];
  const rs = http.createServer(async (request, response) => {
    const bare = `http://localhost:${port}`;
    if (request.url === '/.well-known/oauth-protected-resource/mcp') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ resource: url, authorization_servers: [issuer], scopes_supported: ['notes'] }));
      return;
    }
    const [, bearer] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
    const token = bearer && (await provider.AccessToken.find(bearer));
    if (!token?.isValid || token.aud !== url) {
      response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${bare}/.well-known/oauth-protected-resource/mcp"` }).end();
      return;
    }
    seen.push({ aud: token.aud, scope: token.scope });
    if (request.method !== 'POST') {
      response.writeHead(405, { allow: 'POST' }).end();
      return;
    }
    const mcp = new McpServer({ name: 'own-provider', version: '1.0.0' });
    mcp.registerTool('one', { description: 'One tool.' }, () => ({ content: [] }));
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    response.on('close', () => {
      transport.close();
      mcp.close();
    });
    await mcp.connect(transport);
    await transport.handleRequest(request, response);
  });
  await new Promise((resolve) => rs.listen(port, '127.0.0.1', resolve));
  return {
    url,
    issuer,
    seen,
    async stop() {
      for (const server of [as, rs]) {
        await new Promise((resolve) => {
          server.close(resolve);
          server.closeAllConnections();
        });
      }
    },
  };
}

function quietly(make) {
  const { warn, info } = console;
  console.warn = console.info = () => {};
  try {
    return make();
  } finally {
    Object.assign(console, { warn, info });
  }
}
