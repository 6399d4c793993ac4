// The strict identity provider: `oidc-provider`, a certified OpenID Provider.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import http from 'node:http';
import { Provider } from 'oidc-provider';
import { freePort } from '../kit.mjs';
import { startTap } from './tap.mjs';

/**
 * On `localhost`, so that its cookies never mix with those of vestibule on 127.0.0.1.
 * @param {{ redirectUri: string, accessTokenLife?: number, authMethod?: string, alwaysRefresh?: boolean, emailVerified?: boolean }} options
 */
export async function startOidc({ redirectUri, accessTokenLife = 3600, authMethod = 'client_secret_basic', alwaysRefresh = false, emailVerified = true }) {
  const port = await freePort();
  const tap = await startTap({ target: `http://127.0.0.1:${port}`, host: 'localhost' });
  const clientId = 'vestibule-app';
  const clientSecret = `upstream-${randomBytes(24).toString('base64url')}`;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

  const provider = quietly(() => new Provider(tap.url, {
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: [redirectUri],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: authMethod,
    }],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: 'rs-1' }] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ...(alwaysRefresh && { issueRefreshToken: () => true }),
    features: { devInteractions: { enabled: true }, revocation: { enabled: true }, introspection: { enabled: true } },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    findAccount: (_ctx, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: emailVerified, name: `${id[0].toUpperCase()}${id.slice(1)} Example` }),
    }),
    ttl: { AccessToken: accessTokenLife, AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86_400, Interaction: 600, Session: 86_400, Grant: 86_400 },
  }));
  const server = http.createServer(provider.callback());
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));

  return {
    kind: 'oidc-provider',
    issuer: tap.url,
    clientId,
    clientSecret,
    tap,
    provider,
    upstream: { provider: 'oidc', issuer: tap.url, client_id: clientId, client_secret: clientSecret },
    async stop() {
      await tap.stop();
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
}

// It warns at length that its demonstration pages are for demonstration.
function quietly(make) {
  const { warn, info } = console;
  console.warn = console.info = () => {};
  try {
    return make();
  } finally {
    Object.assign(console, { warn, info });
  }
}
