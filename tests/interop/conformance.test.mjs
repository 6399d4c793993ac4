// The official conformance suite against a running vestibule, as an authorization server.
//
// Its command can end with success without having run the grant: without a client id the scenario is skipped, alone it
// lacks the metadata. So the verdict is read from the checks it wrote, not from its exit code.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import { Child, freePort, MODULES, scratch, within } from './kit.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

const SUITE = path.join(MODULES, '@modelcontextprotocol/conformance/dist/index.js');

async function register(server, redirect, metadata) {
  const response = await fetch(`${server.publicUrl}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'Conformance', redirect_uris: [redirect], grant_types: ['authorization_code'], response_types: ['code'], ...metadata }),
  });
  assert.equal(response.status, 201);
  return response.json();
}

/** Every check the suite wrote, by id. */
function checksIn(dir) {
  const files = readdirSync(dir, { recursive: true }).filter((name) => path.basename(name) === 'checks.json');
  return new Map(files.flatMap((name) => JSON.parse(readFileSync(path.join(dir, name), 'utf8'))).map((check) => [check.id, check]));
}

async function run(t, { resource, metadata }) {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const { server } = await scene(t, { provider: startOidc, target: echo.url });
  const port = await freePort();
  const callback = `http://127.0.0.1:${port}/callback`;
  const client = await register(server, callback, metadata);
  const out = scratch(t, 'conformance-');
  const child = new Child(process.execPath, [
    SUITE, 'authorization', '--url', server.publicUrl, '--client-id', client.client_id, '-p', String(port), '-o', out,
    ...(client.client_secret ? ['--client-secret', client.client_secret] : []),
    ...(resource ? ['--resource', server.resource()] : []),
  ], { name: 'conformance' });
  t.after(() => child.ended ?? child.stop('SIGKILL'));
  const [url] = await child.match(/^https?:\/\/\S*[?&]response_type=code\S*$/m);
  const browser = new Browser();
  const end = await browser.deliver(url, callback);
  assert.ok(end.callback, `${end.page?.status} ${end.page?.body}\n${browser.story()}`);
  const { code } = await within(30_000, 'the suite', child.exited);

  const checks = checksIn(out);
  const said = [...checks.values()].map(({ id, status, errorMessage }) => `${id}: ${status} ${errorMessage ?? ''}`).join('\n');
  for (const id of ['authorization-server-metadata', 'authorization-code-grant']) {
    assert.equal(checks.get(id)?.status, 'SUCCESS', `${id}\n${said}\n${child.output}`);
  }
  const grant = checks.get('authorization-code-grant');
  assert.ok(grant.details.authorizationResponseUrl.startsWith(callback), 'the grant really ran');
  assert.ok(grant.details.body.access_token, 'and ended with a token');
  // Client ID Metadata Documents are recommended, not demanded: unless they are announced the suite warns.
  const { client_id_metadata_document_supported: documents } = checks.get('authorization-server-metadata').details.body;
  const wanted = new Map([['authorization-server-metadata-cimd', documents ? 'SUCCESS' : 'WARNING']]);
  assert.deepEqual([...checks.values()].filter(({ id, status }) => status !== (wanted.get(id) ?? 'SUCCESS')), [], said);
  assert.equal(code, 0, child.output);
  assert.equal(server.tap.to('/token').length, 1);
}

test('authorization: metadata and code grant, with a resource', { timeout: 90_000 }, (t) => run(t, { resource: true, metadata: { token_endpoint_auth_method: 'none' } }));

test('authorization: the same without a resource, as old clients do (RI-1)', { timeout: 90_000 }, (t) => run(t, { resource: false, metadata: { token_endpoint_auth_method: 'none' } }));
