// What outlives the process: a registration always, a login wherever the store does (D2, behaviours 11 and 28).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import * as ts from './clients/typescript.mjs';
import { startMock } from './parts/mock.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

async function play(t, provider, store) {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  return scene(t, { provider, target: echo.url, store: { kind: store } });
}

test('a client registered before a restart logs in after it, with an empty store', { timeout: 60_000 }, async (t) => {
  const { server } = await play(t, startMock, 'memory');
  const keeper = await ts.wallet();
  await ts.begin(server.resource(), keeper);
  await server.restart();
  const { client } = await ts.login(server.resource(), new Browser(), { keeper });
  t.after(() => client.close());
  assert.equal(server.tap.to('/register').length, 1, 'it did not register again');
});

test('a login made before a restart goes on after it', { timeout: 60_000 }, async (t) => {
  const { server } = await play(t, startOidc, 'sled');
  const { client, keeper } = await ts.login(server.resource(), new Browser());
  await client.close();
  const keys = await (await fetch(new URL((await (await fetch(`${server.publicUrl}/.well-known/oauth-authorization-server`)).json()).jwks_uri))).json();
  await server.restart();
  const again = await ts.connect(server.resource(), keeper);
  t.after(() => again.client.close());
  assert.ok((await again.client.listTools()).tools.length > 0);
  assert.equal(server.tap.to('/token').length, 1, 'with the same token');
  const after = await (await fetch(new URL((await (await fetch(`${server.publicUrl}/.well-known/oauth-authorization-server`)).json()).jwks_uri))).json();
  assert.deepEqual(after, keys, 'the published keys are the same');
});

test('a login begun before a restart is finished after it, while the person sits at the provider', { timeout: 60_000 }, async (t) => {
  const { server } = await play(t, startOidc, 'sled');
  const keeper = await ts.wallet();
  const { transport } = await ts.begin(server.resource(), keeper);
  const browser = new Browser();
  const half = await browser.walk(keeper.authorizeUrl, { callback: (url) => url.pathname.startsWith('/callback/') });
  await server.restart();
  const { callback } = await browser.walk(half.callback, { callback: keeper.redirectUrl });
  assert.ok(callback, browser.story());
  await server.restart(); // and once more between the code and its exchange
  await transport.finishAuth(callback.searchParams.get('code'));
  const { client } = await ts.connect(server.resource(), keeper);
  t.after(() => client.close());
  assert.ok((await client.listTools()).tools.length > 0);
});
