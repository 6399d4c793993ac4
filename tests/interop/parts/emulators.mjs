// Google and GitHub as `emulate` plays them, each behind a tap on `localhost`.
import { randomBytes } from 'node:crypto';
import { createEmulator } from 'emulate';
import { freePort } from '../kit.mjs';
import { startTap } from './tap.mjs';

async function start(service, seed) {
  const port = await freePort();
  const tap = await startTap({ target: `http://127.0.0.1:${port}`, host: 'localhost' });
  const emulator = await createEmulator({ service, port, baseUrl: tap.url, seed });
  return {
    kind: `emulate ${service}`,
    url: tap.url,
    tap,
    async stop() {
      await tap.stop();
      await emulator.close();
    },
  };
}

const credentials = (id) => ({ clientId: id, clientSecret: `upstream-${randomBytes(24).toString('base64url')}` });

export async function startGoogle({ redirectUri }) {
  const { clientId, clientSecret } = credentials('1234-abc.apps.googleusercontent.com');
  const part = await start('google', {
    google: {
      users: [{ email: 'alice@example.com', name: 'Alice Example' }],
      oauth_clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectUri], name: 'Vestibule' }],
    },
  });
  const url = part.url;
  return {
    ...part,
    clientId,
    clientSecret,
    upstream: {
      provider: 'google',
      client_id: clientId,
      client_secret: clientSecret,
      issuer: url,
      endpoints: {
        authorize: `${url}/o/oauth2/v2/auth`,
        token: `${url}/oauth2/token`,
        userinfo: `${url}/oauth2/v2/userinfo`,
        revoke: `${url}/oauth2/revoke`,
        jwks: `${url}/oauth2/v3/certs`,
      },
    },
  };
}

export async function startGithub({ redirectUri }) {
  const { clientId, clientSecret } = credentials('Ov23liVestibule');
  const part = await start('github', {
    github: {
      users: [{ login: 'alice', name: 'Alice Example', email: 'alice@example.com' }],
      oauth_apps: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectUri], name: 'Vestibule' }],
    },
  });
  const url = part.url;
  return {
    ...part,
    clientId,
    clientSecret,
    upstream: {
      provider: 'github',
      client_id: clientId,
      client_secret: clientSecret,
      endpoints: {
        authorize: `${url}/login/oauth/authorize`,
        token: `${url}/login/oauth/access_token`,
        userinfo: `${url}/user`,
        emails: `${url}/user/emails`,
      },
    },
  };
}
