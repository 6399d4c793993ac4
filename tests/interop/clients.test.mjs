// Each client logs in through vestibule at a strict provider and uses a real MCP server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import { havePython, haveRmcp, python, rmcp } from './clients/lines.mjs';
import * as remote from './clients/mcp-remote.mjs';
import * as ts from './clients/typescript.mjs';
import { freePort, missing } from './kit.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEverything } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

const play = async (t) => {
  const everything = await startEverything();
  t.after(() => everything.stop());
  return scene(t, { provider: startOidc, target: everything.url, resource: { allow: { emails: ['alice@example.com'] } } });
};

/** What any client must have left behind on the wire, whatever it is made of. */
async function wellBehaved({ server, provider }) {
  const [registration] = server.tap.to('/register');
  assert.equal(registration.status, 201, registration.responseBody);
  const codes = server.tap.to('/token').filter(({ body }) => body.includes('grant_type=authorization_code'));
  assert.equal(codes.length, 1, 'one code exchange');
  assert.equal(codes[0].status, 200, codes[0].responseBody);
  const tokens = JSON.parse(codes[0].responseBody);
  const metadata = await (await fetch(`${server.publicUrl}/.well-known/oauth-authorization-server`)).json();
  if (metadata.grant_types_supported.includes('refresh_token')) assert.ok(tokens.refresh_token, 'a refresh token although none was asked for (behaviour 22)');
  assert.ok(Number.isInteger(tokens.expires_in));
  for (const { url } of provider.tap.to('/auth?')) {
    const sent = new URL(url, provider.issuer).searchParams;
    assert.equal(sent.get('client_id'), provider.clientId);
    assert.equal(sent.get('code_challenge_method'), 'S256');
    assert.equal(sent.get('redirect_uri'), server.callback('idp'));
    assert.ok(!sent.has('resource'), 'the resource of the client never goes upstream (behaviour 20)');
  }
  assert.deepEqual(server.tap.exchanges.filter(({ status }) => status >= 500), [], 'no answer is a 5xx');
}

test('TypeScript SDK × oidc-provider × server-everything', { timeout: 60_000 }, async (t) => {
  const s = await play(t);
  const { client, transport, answer } = await ts.login(s.server.resource(), new Browser());
  t.after(() => client.close());
  assert.equal(answer.get('iss'), s.server.publicUrl);
  const { tools } = await client.listTools();
  assert.ok(tools.some(({ name }) => name === 'echo'));
  assert.match(ts.textOf(await client.callTool({ name: 'echo', arguments: { message: 'hello from typescript' } })), /hello from typescript/);
  assert.ok(transport.sessionId, 'the session id of the server passes through');
  await transport.terminateSession();
  await wellBehaved(s);
});

test('TypeScript SDK: a stream of progress arrives piece by piece', { timeout: 60_000 }, async (t) => {
  const s = await play(t);
  const { client } = await ts.login(s.server.resource(), new Browser());
  t.after(() => client.close());
  const seen = [];
  const begun = Date.now();
  await client.callTool({ name: 'trigger-long-running-operation', arguments: { duration: 2, steps: 4 } }, undefined, { onprogress: () => seen.push(Date.now() - begun) });
  assert.ok(seen.length >= 3, `progress notifications: ${seen}`);
  assert.ok(seen.at(-1) - seen[0] > 800, `they came as they happened, not at the end: ${seen}`);
});

test('TypeScript SDK: two logins by one person, one registration each, neither disturbs the other', { timeout: 60_000 }, async (t) => {
  const s = await play(t);
  const browser = new Browser();
  const one = await ts.login(s.server.resource(), browser);
  const two = await ts.login(s.server.resource(), browser);
  t.after(() => Promise.all([one.client.close(), two.client.close()]));
  for (const { client } of [one, two]) assert.ok((await client.listTools()).tools.length > 0);
  assert.notEqual(one.keeper.issued.access_token, two.keeper.issued.access_token);
});

test('a static client from the file needs no registration, and none other may use its id', { timeout: 60_000 }, async (t) => {
  const redirect = `http://127.0.0.1:${await freePort()}/callback`;
  const everything = await startEverything();
  t.after(() => everything.stop());
  const { server } = await scene(t, {
    provider: startOidc,
    target: everything.url,
    settings: { client: [{ id: 'desk-app', name: 'The Desk App', redirect_uris: [redirect] }] },
  });
  const information = { client_id: 'desk-app', issuer: server.publicUrl };
  const { client } = await ts.login(server.resource(), new Browser(), { keeper: await ts.wallet({ redirectUrl: redirect, information }) });
  t.after(() => client.close());
  assert.ok((await client.listTools()).tools.length > 0);
  assert.equal(server.tap.to('/register').length, 0);

  const thief = await ts.wallet({ redirectUrl: 'https://thief.example/callback', information });
  await ts.begin(server.resource(), thief);
  const { page } = await new Browser().walk(thief.authorizeUrl, { callback: thief.redirectUrl });
  assert.equal(page?.status, 400, 'an address it never registered is told here, and never followed');
});

test('Python SDK × oidc-provider × server-everything', { timeout: 90_000 }, async (t) => {
  if (!havePython()) return missing(t, 'the Python SDK');
  const s = await play(t);
  const { result } = await python(s.server.resource(), new Browser());
  assert.ok(result.tools?.includes('echo'), JSON.stringify(result));
  assert.match(result.text, /hello from python/);
  await wellBehaved(s);
});

test('mcp-remote × oidc-provider × server-everything', { timeout: 90_000 }, async (t) => {
  const s = await play(t);
  const { client, close, opened, log } = await remote.login(t, s.server.resource(), new Browser());
  assert.ok((await client.listTools()).tools.some(({ name }) => name === 'echo'), log());
  assert.match(ts.textOf(await client.callTool({ name: 'echo', arguments: { message: 'hello from a desktop' } })), /hello from a desktop/);
  assert.equal(opened.length, 1, 'the browser opened once');
  await close();
  await wellBehaved(s);
});

test('rmcp × oidc-provider × server-everything', { timeout: 90_000 }, async (t) => {
  if (!haveRmcp()) return missing(t, 'the rmcp client (RMCP_CLIENT)');
  const s = await play(t);
  const { result } = await rmcp(s.server.resource(), new Browser());
  assert.ok(result.tools?.includes('echo'), JSON.stringify(result));
  assert.match(JSON.stringify(result.echo), /Echo: hi/);
  await wellBehaved(s);
});
