// A client that others wrote proves to hold a key (RFC 9449): oauth4webapi, which follows the text to the letter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as oauth from 'oauth4webapi';
import { Browser } from './browser.mjs';
import { freePort } from './kit.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

const PLAIN = { [oauth.allowInsecureRequests]: true }; // loopback
const INITIALIZE = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'interop-dpop', version: '1.0.0' } },
});
const HEADERS = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

/** Once more where a nonce is asked for; the library keeps it from the first answer. */
async function patiently(ask) {
  try {
    return { asked: 1, answer: await ask() };
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return { asked: 2, answer: await ask() };
  }
}

/** Discovery, registration, a login with `dpop_jkt`, and the code for tokens. */
async function login(resource, metadata = {}) {
  const described = await oauth.processResourceDiscoveryResponse(resource, await oauth.resourceDiscoveryRequest(resource, PLAIN));
  const issuer = new URL(described.authorization_servers[0]);
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...PLAIN }));
  assert.deepEqual(as.dpop_signing_alg_values_supported, described.dpop_signing_alg_values_supported);

  const redirect = `http://127.0.0.1:${await freePort()}/callback`;
  const registration = await oauth.dynamicClientRegistrationRequest(as, {
    client_name: 'Interop DPoP',
    redirect_uris: [redirect],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
    dpop_bound_access_tokens: true,
    ...metadata,
  }, PLAIN);
  const client = await oauth.processDynamicClientRegistrationResponse(registration);

  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'));
  const jkt = await DPoP.calculateThumbprint();
  const [verifier, state] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState()];
  const url = new URL(as.authorization_endpoint);
  for (const [name, value] of Object.entries({
    client_id: client.client_id,
    redirect_uri: redirect,
    response_type: 'code',
    state,
    resource: resource.href,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    dpop_jkt: jkt,
  })) url.searchParams.set(name, value);
  const browser = new Browser();
  const { callback } = await browser.walk(url, { callback: redirect });
  assert.ok(callback, browser.story());
  const parameters = oauth.validateAuthResponse(as, client, callback, state);
  const { asked, answer: tokens } = await patiently(async () => oauth.processAuthorizationCodeResponse(as, client,
    await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), parameters, redirect, verifier, { DPoP, ...PLAIN })));
  return { as, client, DPoP, jkt, tokens, asked };
}

for (const mode of ['allowed', 'nonce']) {
  test(`oauth4webapi, proofs ${mode}: login, call, refresh; what is stolen opens nothing`, { timeout: 60_000 }, async (t) => {
    const echo = await startEchoHeaders();
    t.after(() => echo.stop());
    const { server } = await scene(t, { provider: startOidc, target: echo.url, settings: { tokens: { dpop: mode } }, resource: { dpop: 'required' } });
    const resource = new URL(server.resource());
    const { as, client, DPoP, jkt, tokens, asked } = await login(resource);
    assert.equal(asked, mode === 'nonce' ? 2 : 1);
    assert.equal(tokens.token_type, 'dpop');
    assert.equal(JSON.parse(Buffer.from(tokens.access_token.split('.')[1], 'base64url')).cnf.jkt, jkt);

    const call = (token, options) => oauth.protectedResourceRequest(token, 'POST', resource, new Headers(HEADERS), INITIALIZE, { ...options, ...PLAIN });
    const { answer } = await patiently(() => call(tokens.access_token, { DPoP }));
    assert.equal(answer.status, 200);
    await answer.body?.cancel();
    const everSeen = JSON.stringify(echo.seen);
    assert.ok(!everSeen.includes(tokens.access_token) && !/"dpop"/i.test(everSeen), 'neither token nor proof goes further');

    // A thief with a tap: the whole request again, the token alone, the token with a key of his own.
    const [stolen] = server.tap.exchanges.filter(({ headers, status }) => headers.dpop && status === 200 && headers.authorization).slice(-1);
    const replay = (headers) => fetch(resource, { method: 'POST', headers: { ...HEADERS, ...headers }, body: INITIALIZE });
    const { authorization, dpop } = stolen.headers;
    for (const [headers, why] of [
      [{ authorization, dpop }, /used before/],
      [{ authorization: `Bearer ${tokens.access_token}` }, /use the DPoP scheme/],
      [{ authorization }, /a DPoP proof is needed/],
    ]) {
      const refused = await replay(headers);
      assert.equal(refused.status, 401);
      assert.match(refused.headers.get('www-authenticate'), /^DPoP error="/);
      assert.match(refused.headers.get('www-authenticate'), why);
    }
    const thief = oauth.DPoP(client, await oauth.generateKeyPair('ES256'));
    await assert.rejects(patiently(() => call(tokens.access_token, { DPoP: thief })), (error) => error.cause?.[0]?.parameters?.error === 'invalid_token');

    const refresh = (key) => patiently(async () => oauth.processRefreshTokenResponse(as, client,
      await oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token, { DPoP: key, ...PLAIN })));
    await assert.rejects(refresh(thief), (error) => error.error === 'invalid_grant');
    const { answer: next } = await refresh(DPoP);
    assert.equal(next.token_type, 'dpop');
    const { answer: again } = await patiently(() => call(next.access_token, { DPoP }));
    assert.equal(again.status, 200);
    await again.body?.cancel();
  });
}

test("every key that oauth4webapi makes is understood, and none but the first may refresh", { timeout: 60_000 }, async (t) => {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const { server } = await scene(t, { provider: startOidc, target: echo.url });
  const resource = new URL(server.resource());
  const { as, client, tokens } = await login(resource, { dpop_bound_access_tokens: false });
  // Bound by its proof, though it may do without one.
  assert.equal(tokens.token_type, 'dpop');
  for (const algorithm of as.dpop_signing_alg_values_supported.filter((name) => name !== 'EdDSA')) {
    const key = oauth.DPoP(client, await oauth.generateKeyPair(algorithm));
    const asked = oauth.processRefreshTokenResponse(as, client,
      await oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token, { DPoP: key, ...PLAIN }));
    // Understood as proofs of a key, and refused as being of another one.
    await assert.rejects(asked, (error) => error.error === 'invalid_grant');
  }
});
