// `oauth2-mock-server`: the provider that misbehaves on demand.
import { Events, OAuth2Server } from 'oauth2-mock-server';
import { freePort } from '../kit.mjs';
import { startTap } from './tap.mjs';

export async function startMock() {
  const port = await freePort();
  const tap = await startTap({ target: `http://127.0.0.1:${port}`, host: 'localhost' });
  const server = new OAuth2Server();
  await server.issuer.keys.generate('RS256');
  await server.start(port, '127.0.0.1');
  server.issuer.url = tap.url;
  // A provider says who it is: the demonstration user has no e-mail of its own.
  server.service.on(Events.BeforeUserinfo, (answer) => Object.assign(answer.body, { sub: 'johndoe', email: 'john@example.com', email_verified: true }));
  return {
    kind: 'oauth2-mock-server',
    issuer: tap.url,
    clientId: 'vestibule-app',
    clientSecret: 'upstream-mock-secret-0123456789',
    upstream: { provider: 'oidc', issuer: tap.url, client_id: 'vestibule-app', client_secret: 'upstream-mock-secret-0123456789' },
    tap,
    service: server.service,
    /** Signs what a test wants signed by the provider. */
    signer: server.issuer,
    once: (event, handler) => server.service.once(Events[event], handler),
    async stop() {
      await tap.stop();
      await server.stop();
    },
  };
}
