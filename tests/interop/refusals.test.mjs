// Everything that can go wrong on the way in: people who say no, providers that fail, answers that lie.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import * as ts from './clients/typescript.mjs';
import { until } from './kit.mjs';
import { startMock } from './parts/mock.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { answer, cut } from './parts/tap.mjs';
import { scene } from './vestibule.mjs';

async function play(t, provider = startOidc, resource = {}) {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  return { echo, ...(await scene(t, { provider, target: echo.url, resource })) };
}

/** One attempt to log in; gives back where the browser ended. */
async function attempt(server, browser = new Browser()) {
  const keeper = await ts.wallet();
  await ts.begin(server.resource(), keeper);
  const end = await browser.walk(keeper.authorizeUrl, { callback: keeper.redirectUrl });
  return { keeper, end, browser };
}

/** The client is told, in the form RFC 6749 and RFC 9207 ask for. */
function told({ keeper, end, browser }, server, ...codes) {
  assert.ok(end.callback, `the client hears of it; instead a page: ${end.page?.status} ${end.page?.body}\n${browser.story()}`);
  const query = end.callback.searchParams;
  assert.ok(codes.includes(query.get('error')), `error=${query.get('error')}, expected ${codes.join(' or ')}`);
  assert.equal(query.get('state'), keeper.sentState);
  assert.equal(query.get('iss'), server.publicUrl);
  assert.ok(!query.has('code'));
  for (const name of ['error', 'state', 'iss']) assert.equal(query.getAll(name).length, 1, `${name} once`);
}

const works = async (t, server) => {
  const { client } = await ts.login(server.resource(), new Browser());
  t.after(() => client.close());
  assert.ok((await client.listTools()).tools.length > 0);
};

// A page that says who did not answer is a 502 or 503; nothing else may be.
const isPage = ({ url, status }) => /^\/(callback|consent|authorize)\b/.test(url) && [502, 503].includes(status);
const quiet = (server) => assert.deepEqual(
  server.tap.exchanges.filter((exchange) => exchange.status >= 500 && !isPage(exchange)).map(({ method, url, status }) => `${method} ${url} ${status}`), [], 'no 5xx');

test('a person who says no at consent: access_denied with state and iss, and the provider never hears of it', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t);
  const browser = new Browser({ answer: 'no' });
  told(await attempt(server, browser), server, 'access_denied');
  assert.equal(provider.tap.to('/auth').length, 0);
  quiet(server);
  await works(t, server);
});

test('a person who cancels at the provider: access_denied with state and iss', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t);
  told(await attempt(server, new Browser({ abortAt: (url) => url.hostname === 'localhost' })), server, 'access_denied');
  assert.equal(provider.tap.to('/token').length, 0);
  quiet(server);
});

test('a person who may not enter: access_denied, and nothing behind the gate', { timeout: 60_000 }, async (t) => {
  const { server, echo } = await play(t, startOidc, { allow: { emails: ['bob@example.com'] } });
  const tried = await attempt(server);
  if (tried.end.callback) told(tried, server, 'access_denied');
  else assert.equal(tried.end.page.status, 403);
  assert.equal(echo.seen.length, 0);
});

test('an e-mail the provider has not verified opens no domain rule', { timeout: 60_000 }, async (t) => {
  const { server } = await play(t, (at) => startOidc({ ...at, emailVerified: false }), { allow: { emails: ['*@example.com'] } });
  const tried = await attempt(server);
  if (tried.end.callback) told(tried, server, 'access_denied');
  else assert.equal(tried.end.page.status, 403);
});

test('the provider itself says access_denied', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startMock);
  provider.once('BeforeAuthorizeRedirect', ({ url }) => {
    url.searchParams.delete('code');
    url.searchParams.set('error', 'access_denied');
    url.searchParams.set('error_description', '<script>alert(1)</script>');
  });
  const tried = await attempt(server);
  told(tried, server, 'access_denied');
  assert.ok(!tried.end.callback.href.includes('alert'), 'the words of a stranger are not passed on');
  quiet(server);
});

for (const [name, breakIt] of [
  ['500', (provider) => provider.once('BeforeResponse', (response) => Object.assign(response, { statusCode: 500, body: { error: 'server_error' } }))],
  ['503 with a page', (provider) => provider.tap.fail('/token', answer(503, '<h1>down</h1>', { 'content-type': 'text/html' }), 3)],
  ['200 with a page', (provider) => provider.tap.fail('/token', answer(200, '<h1>welcome</h1>', { 'content-type': 'text/html' }), 3)],
  ['a cut connection', (provider) => provider.tap.fail('/token', cut, 3)],
  ['a redirect', (provider) => provider.tap.fail('/token', answer(307, '', { location: 'http://localhost:9/elsewhere' }), 3)],
]) {
  test(`the provider answers the code with ${name}: the client is told, nothing loops, the next login works`, { timeout: 60_000 }, async (t) => {
    const { server, provider } = await play(t, startMock);
    breakIt(provider);
    told(await attempt(server), server, 'server_error', 'temporarily_unavailable');
    assert.ok(provider.tap.to('/token').length <= 3, 'it does not hammer the provider');
    provider.tap.heal();
    quiet(server);
    await works(t, server);
  });
}

test('an answer with the wrong iss is not acted upon (UP-2)', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startMock);
  provider.once('BeforeAuthorizeRedirect', ({ url }) => url.searchParams.set('iss', 'http://localhost:9/evil'));
  const { end } = await attempt(server);
  assert.equal(provider.tap.to('/token').length, 0, 'the code is not redeemed');
  assert.ok(!end.callback?.searchParams.has('code'));
  if (end.page) assert.ok(end.page.status >= 400 && end.page.status < 500, String(end.page.status));
});

test('an ID token of another issuer lets nobody in (UP-4)', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startMock);
  const forge = (token) => (token.payload.iss = 'http://localhost:9/evil');
  provider.service.on('beforeTokenSigning', forge);
  const { end } = await attempt(server);
  assert.ok(!end.callback?.searchParams.has('code'));
  provider.service.off('beforeTokenSigning', forge);
  await works(t, server);
});

test('an ID token for another client, or with another nonce, lets nobody in (UP-4)', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startMock);
  for (const claim of ['aud', 'nonce']) {
    const forge = (token) => {
      if (claim in token.payload) token.payload[claim] = 'somebody-else';
    };
    provider.service.on('beforeTokenSigning', forge);
    const { end } = await attempt(server);
    assert.ok(!end.callback?.searchParams.has('code'), claim);
    provider.service.off('beforeTokenSigning', forge);
  }
});

test('a provider that is away: the person or the client is told, and the next login works', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startMock);
  provider.tap.fail('/', answer(503, 'away', { 'content-type': 'text/plain' }), 1_000);
  const { end } = await attempt(server);
  if (end.callback) assert.ok(['temporarily_unavailable', 'server_error'].includes(end.callback.searchParams.get('error')), end.callback.search);
  else assert.equal(end.page.status, 503);
  provider.tap.heal();
  await until('a login to work again', () => works(t, server).then(() => true), 20_000); // a pause after a failure is fair
});

test('a callback opened in a browser that gave no consent is refused before the provider is asked (S2, S12)', { timeout: 60_000 }, async (t) => {
  const { server, provider } = await play(t, startMock);
  const keeper = await ts.wallet();
  await ts.begin(server.resource(), keeper);
  const victim = new Browser();
  const { callback } = await victim.walk(keeper.authorizeUrl, { callback: (url) => url.pathname.startsWith('/callback/idp') });
  const stranger = await new Browser().request(callback, { site: 'cross-site' });
  assert.equal(stranger.status, 403, stranger.body);
  assert.equal(provider.tap.to('/token').length, 0);
});

test('an unknown client_id: a page with status 400 for people, JSON for programs, never a redirect (behaviour 14)', { timeout: 60_000 }, async (t) => {
  const { server } = await play(t, startMock);
  const url = new URL(`${server.publicUrl}/authorize`);
  url.search = new URLSearchParams({ response_type: 'code', client_id: 'forgotten', redirect_uri: 'http://127.0.0.1:9/callback', state: 'x', code_challenge: 'a'.repeat(43), code_challenge_method: 'S256' });
  const page = await new Browser().request(url);
  assert.equal(page.status, 400);
  assert.match(page.headers['content-type'], /html/);
  const program = await fetch(url, { redirect: 'manual', headers: { accept: '*/*' } });
  assert.equal(program.status, 400);
});

test('a client whose registration is unknown at /token registers again by itself (behaviour 15)', { timeout: 60_000 }, async (t) => {
  const { server } = await play(t, startMock);
  const keeper = await ts.wallet();
  keeper.information = { client_id: 'forgotten', redirect_uris: [keeper.redirectUrl] };
  keeper.issued = { access_token: 'dead', token_type: 'Bearer', refresh_token: 'dead too' };
  keeper.invalidateCredentials = (scope) => {
    if (scope === 'all' || scope === 'client') keeper.information = undefined;
    if (scope === 'all' || scope === 'tokens') keeper.issued = undefined;
  };
  const { client } = await ts.login(server.resource(), new Browser(), { keeper });
  t.after(() => client.close());
  const [refused] = server.tap.to('/token');
  assert.deepEqual([refused.status, JSON.parse(refused.responseBody).error], [401, 'invalid_client']);
  assert.notEqual(keeper.information.client_id, 'forgotten');
});
