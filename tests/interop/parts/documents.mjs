// Client ID Metadata Documents on the "internet": https on loopback, under an authority of our own.
import { readFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { PYTHON } from '../clients/lines.mjs';
import { Child, freePort, HERE, scratch } from '../kit.mjs';

/**
 * `describe(name, redirects)` publishes a document and gives its address; `authority` is the PEM to be trusted; `fetched`
 * are the paths that were asked for.
 */
export async function startDocuments(t) {
  const dir = scratch(t, 'documents-');
  const made = new Child(PYTHON, [path.join(HERE, 'parts/certificates.py'), dir], { name: 'certificates.py' });
  const { code } = await made.exited;
  if (code !== 0) throw new Error(made.output);
  const documents = new Map();
  const fetched = [];
  const server = https.createServer({ cert: readFileSync(path.join(dir, 'cert.pem')), key: readFileSync(path.join(dir, 'key.pem')) }, (request, response) => {
    fetched.push(request.url);
    const document = documents.get(request.url);
    response.writeHead(document ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document ?? {}));
  });
  const port = await freePort();
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  }));
  return {
    authority: path.join(dir, 'ca.pem'),
    fetched,
    describe(name, redirects) {
      const at = `/${encodeURIComponent(name)}/client.json`;
      const url = `https://localhost:${port}${at}`;
      documents.set(at, {
        client_id: url,
        client_name: name,
        redirect_uris: redirects,
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
      });
      return url;
    },
  };
}
