// The third-party parts by themselves: what the other suites stand on. Nothing of ours runs here.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import { connectPlain, textOf } from './clients/typescript.mjs';
import { freePort } from './kit.mjs';
import { startGithub, startGoogle } from './parts/emulators.mjs';
import { startMock } from './parts/mock.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders, startEverything } from './parts/servers.mjs';
import { answer } from './parts/tap.mjs';

const pkce = () => {
  const verifier = randomBytes(32).toString('base64url');
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') };
};
const basic = (part) => `Basic ${Buffer.from(`${encodeURIComponent(part.clientId)}:${encodeURIComponent(part.clientSecret)}`).toString('base64')}`;
const redirectUri = async () => `http://127.0.0.1:${await freePort()}/callback/idp`;

async function code(part, authorize, callback, params) {
  const url = new URL(authorize);
  url.search = new URLSearchParams({ response_type: 'code', client_id: part.clientId, redirect_uri: callback, state: 'st', ...params });
  const browser = new Browser();
  const end = await browser.walk(url, { callback });
  assert.ok(end.callback, `${part.kind} sends the browser back\n${browser.story()}\n${end.page?.body}`);
  assert.equal(end.callback.searchParams.get('state'), 'st');
  return end.callback.searchParams;
}

test('oidc-provider is strict: PKCE is required, a code works once, a rotated refresh token is dead', async (t) => {
  const callback = await redirectUri();
  const part = await startOidc({ redirectUri: callback });
  t.after(() => part.stop());
  const metadata = await (await fetch(`${part.issuer}/.well-known/openid-configuration`)).json();
  assert.equal(metadata.issuer, part.issuer);

  const bare = await code(part, metadata.authorization_endpoint, callback, { scope: 'openid' });
  assert.equal(bare.get('error'), 'invalid_request');

  const { verifier, challenge } = pkce();
  const good = await code(part, metadata.authorization_endpoint, callback, {
    scope: 'openid email profile offline_access', prompt: 'consent', nonce: 'n', code_challenge: challenge, code_challenge_method: 'S256',
  });
  assert.equal(good.get('iss'), part.issuer);
  const redeem = (fields) => fetch(metadata.token_endpoint, {
    method: 'POST',
    headers: { authorization: basic(part) },
    body: new URLSearchParams({ redirect_uri: callback, ...fields }),
  });
  const tokens = await (await redeem({ grant_type: 'authorization_code', code: good.get('code'), code_verifier: verifier })).json();
  assert.ok(tokens.access_token && tokens.id_token && tokens.refresh_token, JSON.stringify(tokens));
  const who = await (await fetch(metadata.userinfo_endpoint, { headers: { authorization: `Bearer ${tokens.access_token}` } })).json();
  assert.deepEqual([who.sub, who.email, who.email_verified], ['alice', 'alice@example.com', true]);

  const rotated = await (await redeem({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token })).json();
  assert.notEqual(rotated.refresh_token, tokens.refresh_token);
  const dead = await redeem({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token });
  assert.deepEqual([dead.status, (await dead.json()).error], [400, 'invalid_grant']);
  const twice = await redeem({ grant_type: 'authorization_code', code: good.get('code'), code_verifier: verifier });
  assert.deepEqual([twice.status, (await twice.json()).error], [400, 'invalid_grant']);
});

test('oidc-provider: cancelling at the login page comes back as access_denied', async (t) => {
  const callback = await redirectUri();
  const part = await startOidc({ redirectUri: callback });
  t.after(() => part.stop());
  const url = new URL(`${part.issuer}/auth`);
  url.search = new URLSearchParams({ response_type: 'code', client_id: part.clientId, redirect_uri: callback, scope: 'openid', state: 'st', code_challenge: pkce().challenge, code_challenge_method: 'S256' });
  const end = await new Browser({ abortAt: (at) => at.hostname === 'localhost' }).walk(url, { callback });
  assert.equal(end.callback.searchParams.get('error'), 'access_denied');
});

test('emulate google: discovery, an ID token with the nonce, an opaque access token', async (t) => {
  const callback = await redirectUri();
  const part = await startGoogle({ redirectUri: callback });
  t.after(() => part.stop());
  const metadata = await (await fetch(`${part.url}/.well-known/openid-configuration`)).json();
  assert.equal(metadata.issuer, part.url);
  const { verifier, challenge } = pkce();
  const got = await code(part, part.upstream.endpoints.authorize, callback, { scope: 'openid email profile', nonce: 'n1', code_challenge: challenge, code_challenge_method: 'S256' });
  const tokens = await (await fetch(part.upstream.endpoints.token, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'authorization_code', code: got.get('code'), redirect_uri: callback, client_id: part.clientId, client_secret: part.clientSecret, code_verifier: verifier }),
  })).json();
  const claims = JSON.parse(Buffer.from(tokens.id_token.split('.')[1], 'base64url'));
  assert.deepEqual([claims.iss, claims.aud, claims.nonce, claims.email], [part.url, part.clientId, 'n1', 'alice@example.com']);
  assert.match(tokens.access_token, /^google_/);
});

test('emulate github: no discovery, no expiry, and errors with status 200', async (t) => {
  const callback = await redirectUri();
  const part = await startGithub({ redirectUri: callback });
  t.after(() => part.stop());
  const got = await code(part, part.upstream.endpoints.authorize, callback, { scope: 'read:user user:email' });
  const redeem = async () => {
    const response = await fetch(part.upstream.endpoints.token, {
      method: 'POST',
      headers: { accept: 'application/json' },
      body: new URLSearchParams({ client_id: part.clientId, client_secret: part.clientSecret, code: got.get('code'), redirect_uri: callback }),
    });
    return [response.status, await response.json()];
  };
  const [, tokens] = await redeem();
  assert.match(tokens.access_token, /^gho_/);
  assert.equal(tokens.expires_in, undefined);
  const [status, again] = await redeem();
  assert.deepEqual([status, again.error], [200, 'bad_verification_code']);
  const emails = await (await fetch(part.upstream.endpoints.emails, { headers: { authorization: `Bearer ${tokens.access_token}` } })).json();
  assert.equal(emails[0].email, 'alice@example.com');
});

test('oauth2-mock-server: its hooks break what they are told to break', async (t) => {
  const callback = await redirectUri();
  const part = await startMock();
  t.after(() => part.stop());
  const metadata = await (await fetch(`${part.issuer}/.well-known/openid-configuration`)).json();
  assert.equal(metadata.issuer, part.issuer);
  part.once('BeforeResponse', (response) => Object.assign(response, { statusCode: 500, body: { error: 'server_error' } }));
  const got = await code(part, metadata.authorization_endpoint, callback, { scope: 'openid' });
  const redeem = () => fetch(metadata.token_endpoint, { method: 'POST', headers: { authorization: basic(part) }, body: new URLSearchParams({ grant_type: 'authorization_code', code: got.get('code'), redirect_uri: callback }) });
  assert.equal((await redeem()).status, 500);
  assert.equal((await redeem()).status, 200);
  part.tap.fail('/token', answer(503, '<h1>down</h1>', { 'content-type': 'text/html' }));
  assert.equal((await redeem()).status, 503);
  assert.equal((await redeem()).status, 200);
});

test('server-everything answers the TypeScript SDK', async (t) => {
  const part = await startEverything();
  t.after(() => part.stop());
  const { client } = await connectPlain(part.url);
  t.after(() => client.close());
  assert.ok((await client.listTools()).tools.some(({ name }) => name === 'echo'));
  assert.match(textOf(await client.callTool({ name: 'echo', arguments: { message: 'hello' } })), /hello/);
});

test('the echo server tells the headers it received', async (t) => {
  const part = await startEchoHeaders();
  t.after(() => part.stop());
  const { client } = await connectPlain(part.url);
  t.after(() => client.close());
  const headers = JSON.parse(textOf(await client.callTool({ name: 'headers', arguments: {} })));
  assert.equal(headers.host, new URL(part.url).host);
});
