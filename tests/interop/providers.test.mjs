// One client, every kind of provider: discovered, emulated Google and GitHub, and one that checks nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import * as ts from './clients/typescript.mjs';
import { startGithub, startGoogle } from './parts/emulators.mjs';
import { startMock } from './parts/mock.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { plan, scene, startVestibule } from './vestibule.mjs';

async function play(t, provider, file = {}) {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  return { echo, ...(await scene(t, { provider, target: echo.url, ...file })) };
}

async function headersBehind(t, server) {
  const { client, answer } = await ts.login(server.resource(), new Browser());
  t.after(() => client.close());
  assert.equal(answer.get('iss'), server.publicUrl);
  return JSON.parse(ts.textOf(await client.callTool({ name: 'headers', arguments: {} })));
}

const tokensOf = (provider, path) => provider.tap.to(path).map(({ responseBody }) => JSON.parse(responseBody).access_token).filter(Boolean);

test('oidc-provider with a client that authenticates by post', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, (at) => startOidc({ ...at, authMethod: 'client_secret_post' }), {
    upstream: { client_auth: 'post' },
  });
  const headers = await headersBehind(t, server);
  assert.equal(headers.authorization, `Bearer ${tokensOf(provider, '/token')[0]}`);
});

test('oidc-provider: the e-mail only userinfo tells is enough for a domain rule', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startOidc, { resource: { allow: { emails: ['*@example.com'] } } });
  await headersBehind(t, server);
  assert.ok(provider.tap.to('/me').length > 0, 'userinfo was asked');
});

test('Google, as emulated: the preset finds its way with other endpoints', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startGoogle, { resource: { allow: { emails: ['alice@example.com'] } } });
  const headers = await headersBehind(t, server);
  assert.match(headers.authorization, /^Bearer google_/);
  const sent = new URL(provider.tap.to('/o/oauth2/v2/auth')[0].url, provider.url).searchParams;
  assert.equal(sent.get('access_type'), 'offline');
  assert.match(sent.get('scope'), /openid/);
  assert.doesNotMatch(sent.get('scope'), /offline_access/);
  assert.ok(!sent.has('resource'));
});

test('GitHub, as emulated: no discovery, no expiry, identity from its API', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startGithub, { resource: { allow: { emails: ['alice@example.com'] } } });
  const headers = await headersBehind(t, server);
  assert.match(headers.authorization, /^Bearer gho_/);
  const [exchange] = provider.tap.to('/login/oauth/access_token');
  assert.match(exchange.headers.accept, /json/);
  assert.ok(exchange.headers['user-agent'], 'GitHub demands a User-Agent');
  assert.ok(provider.tap.to('/user').every(({ headers }) => headers['user-agent']), 'on every call');
});

test('oauth2-mock-server: a provider with JWT access tokens and one odd scope', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startMock);
  const headers = await headersBehind(t, server);
  assert.equal(headers.authorization, `Bearer ${tokensOf(provider, '/token')[0]}`);
});

test('two providers and two servers in one installation stay apart (S4, UP-3)', { timeout: 60_000 }, async (t) => {
  const place = await plan(t);
  const [one, two] = [await startOidc({ redirectUri: place.callback('one') }), await startMock()];
  const [left, right] = [await startEchoHeaders(), await startEchoHeaders()];
  for (const part of [one, two, left, right]) t.after(() => part.stop());
  const server = await startVestibule(t, place, {
    upstream: { one: one.upstream, two: two.upstream },
    resource: [{ path: '/left', target: left.url, upstream: 'one' }, { path: '/right', target: right.url, upstream: 'two' }],
  });
  const a = await ts.login(server.resource('/left'), new Browser());
  const b = await ts.login(server.resource('/right'), new Browser());
  t.after(() => Promise.all([a.client.close(), b.client.close()]));
  await a.client.callTool({ name: 'headers', arguments: {} });
  await b.client.callTool({ name: 'headers', arguments: {} });
  assert.ok(one.tap.to('/auth').length > 0 && two.tap.to('/authorize').length > 0, 'each went to its own provider');

  const before = right.seen.length;
  const stray = await fetch(server.resource('/right'), {
    method: 'POST',
    headers: { authorization: `Bearer ${a.keeper.issued.access_token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
  });
  assert.equal(stray.status, 401, 'a token for one path is nothing on the other');
  assert.match(stray.headers.get('www-authenticate'), /error="invalid_token"/);
  assert.equal(right.seen.length, before, 'and the server behind it never heard of the call');
});
