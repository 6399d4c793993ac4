// Ways to a token without a browser: the SDK's own clients for programs, an identity provider's word, tokens exchanged.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ClientCredentialsProvider, PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { scratch } from './kit.mjs';
import * as ts from './clients/typescript.mjs';
import { startMock } from './parts/mock.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const SECRET = 'agent-secret-0123456789';

/** A provider that also speaks for people and workloads, and a server that is told who calls. */
async function play(t, { allow = {}, client = {} } = {}) {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const dir = scratch(t);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = path.join(dir, 'robot.jwks.json');
  writeFileSync(jwks, JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'robot-1', alg: 'ES256', use: 'sig' }] }));
  let idp;
  const provider = async (at) => (idp = await startMock(at));
  const cluster = await startMock();
  t.after(() => cluster.stop());
  // The provider's address is known only once it runs, and the file needs it: so it starts first.
  const running = await provider();
  const { server } = await scene(t, {
    provider: async () => running,
    target: echo.url,
    resource: { inject: 'identity', allow: { anyone: true, clients: ['build', 'robot'], issuers: ['corp'], workloads: ['cluster:system:serviceaccount:ci:*'], ...allow } },
    settings: {
      client: [
        { id: 'build', secret: SECRET, grants: ['client_credentials'] },
        { id: 'robot', auth_method: 'private_key_jwt', jwks: `file:${jwks}`, grants: ['client_credentials'] },
        { id: 'agent', secret: SECRET, grants: ['token_exchange'], exchange: ['idp', 'corp'], ...client },
      ],
      issuer: {
        corp: { issuer: running.issuer, jwks_uri: `${running.issuer}/jwks`, audiences: ['https://old.example'] },
        cluster: { issuer: cluster.issuer, jwks_uri: `${cluster.issuer}/jwks`, speaks_for: 'workloads' },
      },
    },
  });
  return { echo, server, idp, cluster, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) };
}

/** What the server behind the gate was told, and the caller's own name there. */
async function called(t, server, authProvider) {
  const { client } = await ts.connect(server.resource(), authProvider);
  t.after(() => client.close());
  return JSON.parse(ts.textOf(await client.callTool({ name: 'headers' })));
}

/** A token that the part signs with the key it publishes. */
const signed = (part, typ, claims) => part.signer.buildToken({
  scopesOrTransform: (header, payload) => {
    Object.assign(header, { typ });
    Object.assign(payload, claims);
  },
  expiresIn: 300,
});

async function ask(server, form, { id, secret } = {}) {
  const headers = id ? { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` } : {};
  const answer = await fetch(`${server.publicUrl}/token`, { method: 'POST', headers, body: new URLSearchParams(form) });
  return { status: answer.status, body: await answer.json() };
}

test('the SDK as a program with a secret: client_credentials', { timeout: 60_000 }, async (t) => {
  const { server, echo } = await play(t);
  const provider = new ClientCredentialsProvider({ clientId: 'build', clientSecret: SECRET, expectedIssuer: server.publicUrl });
  const headers = await called(t, server, provider);
  assert.equal(headers['x-forwarded-user'], 'client:build');
  assert.equal(headers.authorization, undefined);
  assert.equal(provider.tokens().refresh_token, undefined);
  assert.ok(echo.seen.length > 0);
});

test('the SDK as a program with a key: client_credentials by private_key_jwt', { timeout: 60_000 }, async (t) => {
  const { server, key } = await play(t);
  const provider = new PrivateKeyJwtProvider({ clientId: 'robot', privateKey: key, algorithm: 'ES256', expectedIssuer: server.publicUrl });
  const headers = await called(t, server, provider);
  assert.equal(headers['x-forwarded-user'], 'client:robot');
});

test('a program that no server names is refused, and the SDK does not try for ever', { timeout: 60_000 }, async (t) => {
  const { server, echo } = await play(t, { allow: { clients: ['robot'] } });
  const provider = new ClientCredentialsProvider({ clientId: 'build', clientSecret: SECRET, expectedIssuer: server.publicUrl });
  await assert.rejects(ts.connect(server.resource(), provider));
  assert.equal(echo.seen.length, 0);
  assert.ok(server.tap.exchanges.filter(({ url }) => url.startsWith('/token')).length <= 2);
});

test('the SDK with an identity provider’s word for a person (ID-JAG), in place of a login', { timeout: 60_000 }, async (t) => {
  const { server, idp } = await play(t, { client: { grants: ['token_exchange'] } });
  const metadata = await (await fetch(`${server.publicUrl}/.well-known/oauth-authorization-server`)).json();
  assert.deepEqual(metadata.authorization_grant_profiles_supported, ['urn:ietf:params:oauth:grant-profile:id-jag']);
  const claims = { sub: 'johndoe', aud: server.publicUrl, client_id: 'agent', resource: server.resource(), jti: crypto.randomUUID() };
  const jag = await signed(idp, 'oauth-id-jag+jwt', claims);
  // The SDK's own hook for grants it does not know: everything else of its flow is as ever.
  const provider = new (class extends ClientCredentialsProvider {
    prepareTokenRequest() { return new URLSearchParams({ grant_type: JWT_BEARER, assertion: jag }); }
  })({ clientId: 'agent', clientSecret: SECRET, expectedIssuer: server.publicUrl });
  const headers = await called(t, server, provider);
  assert.equal(headers['x-forwarded-user'], 'corp:johndoe');
  assert.equal(headers.authorization, undefined);
  const again = await ask(server, { grant_type: JWT_BEARER, assertion: jag }, { id: 'agent', secret: SECRET });
  assert.deepEqual([again.status, again.body.error], [400, 'invalid_grant'], 'good for once');
  const other = await signed(idp, 'oauth-id-jag+jwt', { ...claims, client_id: 'build', jti: crypto.randomUUID() });
  assert.equal((await ask(server, { grant_type: JWT_BEARER, assertion: other }, { id: 'agent', secret: SECRET })).body.error, 'invalid_grant');
  assert.equal((await ask(server, { grant_type: JWT_BEARER, assertion: other })).body.error, 'invalid_client');
});

test('a workload with its platform’s token, registered nowhere', { timeout: 60_000 }, async (t) => {
  const { server, cluster, idp } = await play(t);
  const claims = { sub: 'system:serviceaccount:ci:runner', aud: server.publicUrl, jti: crypto.randomUUID() };
  const form = async (part, changes = {}) => ({ grant_type: JWT_BEARER, resource: server.resource(), assertion: await signed(part, 'JWT', { ...claims, ...changes }) });
  const { status, body } = await ask(server, await form(cluster));
  assert.equal(status, 200, JSON.stringify(body));
  const keeper = await ts.wallet();
  keeper.saveTokens(body);
  const { client } = await ts.connect(server.resource(), keeper);
  t.after(() => client.close());
  assert.equal(JSON.parse(ts.textOf(await client.callTool({ name: 'headers' })))['x-forwarded-user'], `cluster:${claims.sub}`);
  for (const bad of [await form(cluster, { sub: 'system:serviceaccount:prod:runner' }), await form(cluster, { aud: 'https://else.example' }), await form(idp)]) {
    assert.equal((await ask(server, bad)).body.error, 'invalid_grant');
  }
});

test('a provider’s ID token and an issuer’s JWT, exchanged (RFC 8693)', { timeout: 60_000 }, async (t) => {
  const { server, idp } = await play(t);
  const agent = { id: 'agent', secret: SECRET };
  const form = (token, type) => ({ grant_type: EXCHANGE, subject_token: token, subject_token_type: `urn:ietf:params:oauth:token-type:${type}`, resource: server.resource() });
  const jwt = await signed(idp, 'JWT', { sub: 'johndoe', aud: 'https://old.example' });
  const { status, body } = await ask(server, form(jwt, 'jwt'), agent);
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(body.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token');
  const claims = JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url'));
  assert.deepEqual([claims.sub, claims.act], ['corp:johndoe', { sub: 'client:agent' }]);
  for (const [token, type, error] of [
    [await signed(idp, 'JWT', { sub: 'johndoe', aud: 'https://else.example' }), 'jwt', 'invalid_request'],
    [await signed(idp, 'oauth-id-jag+jwt', { sub: 'johndoe', aud: 'https://old.example' }), 'jwt', 'invalid_request'],
    [jwt, 'saml2', 'invalid_request'],
  ]) {
    assert.equal((await ask(server, form(token, type), agent)).body.error, error);
  }
  assert.equal((await ask(server, form(jwt, 'jwt'), { id: 'build', secret: SECRET })).body.error, 'unauthorized_client');
});

test('a provider’s own ID token for our app, exchanged (RFC 8693)', { timeout: 60_000 }, async (t) => {
  const { server, idp } = await play(t, { client: { exchange: ['idp'] } });
  const form = (token) => ({ grant_type: EXCHANGE, subject_token: token, subject_token_type: 'urn:ietf:params:oauth:token-type:id_token', resource: server.resource() });
  const agent = { id: 'agent', secret: SECRET };
  const ours = await signed(idp, 'JWT', { sub: 'johndoe', aud: idp.clientId });
  const { status, body } = await ask(server, form(ours), agent);
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url')).sub, 'idp:johndoe');
  const anothers = await signed(idp, 'JWT', { sub: 'johndoe', aud: 'another-app' });
  assert.equal((await ask(server, form(anothers), agent)).body.error, 'invalid_request');
});
