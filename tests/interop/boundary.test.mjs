// What crosses the gate and what does not: the client's token stays outside, the provider's inside (behaviours 26, 27).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import * as ts from './clients/typescript.mjs';
import { within } from './kit.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders, startEverything } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

const SPOOFED = {
  'X-Forwarded-User': 'spoofed-user',
  'X-Forwarded-Email': 'spoofed@example.com',
  'X-Forwarded-Preferred-Username': 'spoofed-name',
  'X-Forwarded-Groups': 'spoofed-admins',
  'X-Forwarded-Access-Token': 'spoofed-token',
  X_Forwarded_User: 'spoofed-twin',
  'X-Api-Key': 'spoofed-key',
};

async function play(t, resource, env) {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const s = await scene(t, { provider: startOidc, target: echo.url, resource, env });
  const { client, keeper } = await ts.login(s.server.resource(), new Browser(), { headers: SPOOFED });
  t.after(() => client.close());
  const headers = JSON.parse(ts.textOf(await client.callTool({ name: 'headers', arguments: {} })));
  const everSeen = JSON.stringify(echo.seen);
  assert.ok(!everSeen.includes(keeper.issued.access_token), "the client's token never reaches the backend");
  assert.ok(!everSeen.includes(keeper.issued.refresh_token ?? '\0'), 'nor its refresh token');
  const upstream = s.provider.tap.to('/token').map(({ responseBody }) => JSON.parse(responseBody)).at(-1);
  const outside = JSON.stringify(s.server.tap.exchanges.filter(({ url }) => !url.startsWith('/callback/')));
  for (const name of ['access_token', 'refresh_token', 'id_token']) {
    if (upstream[name] && name !== 'access_token') assert.ok(!outside.includes(upstream[name]), `the provider's ${name} never leaves`);
  }
  assert.ok(!JSON.stringify(keeper.issued).includes(upstream.access_token), "the provider's token is not readable in ours");
  return { ...s, echo, headers, upstream, client, keeper };
}

test('upstream_token: the backend gets the token of the provider and nothing the client made up', { timeout: 60_000 }, async (t) => {
  const { headers, upstream } = await play(t, { inject: 'upstream_token' });
  assert.equal(headers.authorization, `Bearer ${upstream.access_token}`);
  for (const name of Object.keys(SPOOFED).filter((name) => name !== 'X-Api-Key')) {
    assert.ok(!String(headers[name.toLowerCase()] ?? '').includes('spoofed'), `${name}: ${headers[name.toLowerCase()]}`);
  }
});

test('a fixed header replaces whatever the client sent under its name', { timeout: 60_000 }, async (t) => {
  const { headers } = await play(t, { inject: { header: 'X-Api-Key', value: 'env:INTEROP_API_KEY' } }, { INTEROP_API_KEY: 'the-key-of-the-house' });
  assert.equal(headers['x-api-key'], 'the-key-of-the-house');
  assert.equal(headers.authorization, undefined);
});

test('identity: who is calling, from the provider and not from the caller', { timeout: 60_000 }, async (t) => {
  const { headers } = await play(t, { inject: 'identity' });
  assert.equal(headers['x-forwarded-email'], 'alice@example.com');
  assert.match(headers['x-forwarded-user'], /alice/);
  assert.ok(!JSON.stringify({ ...headers, 'x-api-key': '' }).includes('spoofed'), JSON.stringify(headers));
});

test('several at once: the token of the provider, and who it belongs to', { timeout: 60_000 }, async (t) => {
  const { headers, upstream } = await play(t, { inject: ['upstream_token', 'identity'] });
  assert.equal(headers.authorization, `Bearer ${upstream.access_token}`);
  assert.equal(headers['x-forwarded-email'], 'alice@example.com');
});

test('none: nothing is added and the credential is still taken off', { timeout: 60_000 }, async (t) => {
  const { headers } = await play(t, { inject: 'none' });
  assert.equal(headers.authorization, undefined);
});

test('without a token: one challenge that leads to the metadata, and the backend hears nothing (behaviour 1)', { timeout: 60_000 }, async (t) => {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const { server } = await scene(t, { provider: startOidc, target: echo.url });
  const response = await fetch(server.resource(), { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
  assert.equal(response.status, 401);
  const challenge = response.headers.get('www-authenticate');
  assert.match(challenge, /^Bearer /);
  assert.doesNotMatch(challenge, /error=/);
  const [, metadata] = /resource_metadata="([^"]+)"/.exec(challenge);
  assert.match(challenge, /scope="[^"]+"/);
  const document = await (await fetch(metadata)).json();
  assert.equal(document.resource, server.resource());
  assert.deepEqual(document.authorization_servers, [server.publicUrl]);
  assert.equal(echo.seen.length, 0);
});

test('the head of a silent event stream arrives at once, and leaving it is noticed', { timeout: 60_000 }, async (t) => {
  const everything = await startEverything();
  t.after(() => everything.stop());
  const { server } = await scene(t, { provider: startOidc, target: everything.url });
  const { client, transport, keeper } = await ts.login(server.resource(), new Browser());
  const sessionId = transport.sessionId;
  await client.close();
  const leave = new AbortController();
  const response = await within(2_000, 'the head of the stream', fetch(server.resource(), {
    headers: { authorization: `Bearer ${keeper.issued.access_token}`, accept: 'text/event-stream', 'mcp-session-id': sessionId, 'mcp-protocol-version': '2025-11-25' },
    signal: leave.signal,
  }));
  // The first client's own stream may still be open: then the server itself says so, and that answer passes unchanged.
  assert.ok([200, 409].includes(response.status), String(response.status));
  leave.abort();
});

test('an unknown session is answered by the server behind, unchanged', { timeout: 60_000 }, async (t) => {
  const everything = await startEverything();
  t.after(() => everything.stop());
  const { server } = await scene(t, { provider: startOidc, target: everything.url });
  const { client, keeper } = await ts.login(server.resource(), new Browser());
  await client.close();
  const ask = (url, headers) => fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-session-id': 'no-such-session', ...headers },
    body: JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'tools/list' }),
  });
  const direct = await ask(everything.url, {});
  const proxied = await ask(server.resource(), { authorization: `Bearer ${keeper.issued.access_token}` });
  assert.equal(proxied.status, direct.status);
  assert.equal(await proxied.text(), await direct.text());
});
