// A stranger's attack on a running server: 10,000 requests built from the advisories and refusals that the rest of the
// tests try one by one, at once with people who just want to log in. Nothing breaks, nothing leaks, nobody notices, and
// the memory stays where it was.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import * as ts from './clients/typescript.mjs';
import { sleep, within } from './kit.mjs';
import { harvest, leaks } from './harvest.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

const REQUESTS = Number(process.env.INTEROP_HOSTILE_REQUESTS ?? 10_000);
const SEED = Number(process.env.INTEROP_HOSTILE_SEED ?? 20260728);

/** The same attack for the same seed (mulberry32). */
function dice(seed) {
  let state = seed;
  const roll = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(roll() * n);
  return { below, of: (list) => list[below(list.length)], chance: (p) => roll() < p };
}

const URIS = [
  'javascript:alert(1)', 'JavaScript:alert(1)', ' https://evil.example/cb', 'data:text/html,<script>1</script>', 'vbscript:x', 'blob:https://x/1', 'file:///etc/passwd',
  'https://evil.example/..;/cb', 'https://claude.ai@evil.example/cb', 'https://a@b@c/cb', 'https://evil.example/cb#x', 'https:\\\\evil.example\\cb', 'https://EVIL.example/cb',
  'http://evil.example/cb', 'http://127.0.0.1.evil.example/cb', 'http://localhost:99999/cb', '//evil.example', '', 'https://evil.example/\r\nSet-Cookie: a=b', 'https://*.example/cb',
  `https://evil.example/${'a'.repeat(9000)}`, 'about:blank', 'intent://x#Intent;end', 'https://evil.example/cb?code=1&state=2', 'http://[::1%25eth0]/cb', 'https://ⓔvil.example/cb',
];
const TEXTS = ['', '\0', '%00', "' OR 1=1 --", '<script>alert(1)</script>', '../../../../etc/passwd', '{{7*7}}', '${jndi:ldap://x/a}', 'a'.repeat(20_000), '\u202egnp.exe', '🦊'.repeat(100), '-1', 'null', '[]', '\r\nX-Injected: 1', '%', '%zz', 'undefined'];
const PATHS = ['/mcp/..;/admin', '//evil.example/mcp', '/mcp/%2e%2e/token', '/mcp%2f..%2fadmin', '/./mcp', '/mcp;jsessionid=1', '/admin/grants', '/healthz', '/readyz', '/metrics', '/.env', '/.git/config', '/callback/', '/callback/idp/extra', '/.well-known/../token', '/.well-known/oauth-protected-resource/%2e%2e%2f', '/wp-login.php', `/${'a/'.repeat(2000)}`, '/mcp?access_token=x', '/%00', '/\u00ff'];

/** All kinds of requests, each a function of the dice and of what an attacker has: his own login, and old papers. */
function arsenal(base, own) {
  const host = new URL(base).host;
  const form = (fields) => ({ method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: fields instanceof Array ? fields.map(([n, v]) => `${encodeURIComponent(n)}=${encodeURIComponent(v)}`).join('&') : new URLSearchParams(fields).toString() });
  const json = (value) => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: typeof value === 'string' ? value : JSON.stringify(value) });
  const bent = (d, text) => {
    const at = d.below(text.length);
    return d.of([text.slice(0, at), text + d.of(TEXTS), text.slice(0, at) + d.of(['A', '.', '-', '=', ' ']) + text.slice(at + 1), text.toUpperCase(), text.split('').reverse().join('')]);
  };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const [head, claims, signature] = own.access.split('.');
  const confused = (d) => d.of([
    `${part({ alg: 'none', typ: 'at+jwt' })}.${claims}.`, `${part({ alg: 'HS256', typ: 'at+jwt', kid: 'x' })}.${claims}.${signature}`, `${head}.${part({ sub: 'root', aud: base })}.${signature}`,
    `${head}.${claims}.`, own.refresh, own.code, 'a'.repeat(1_000_00), `${own.access}.${own.access}`, bent(d, own.access), '..', d.of(TEXTS),
  ]).replace(/[^\x21-\x7e]/g, '?');
  const query = (fields) => new URLSearchParams(fields).toString();
  const asking = (d) => ({ response_type: 'code', client_id: own.client, redirect_uri: own.redirect, code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256', state: 'x', resource: `${base}/mcp`, ...d.of([
    { redirect_uri: d.of(URIS) }, { client_id: bent(d, own.client) }, { client_id: d.of(TEXTS) }, { client_id: d.of(['https://169.254.169.254/latest', 'https://10.0.0.1/x', 'http://evil.example/x', 'https://[::ffff:10.0.0.1]/x', 'https://evil.example', 'https://user@10.0.0.1/x', 'https://10.0.0.1/../x']) },
    { code_challenge_method: d.of(['plain', 'none', '']) }, { code_challenge: d.of(TEXTS) }, { resource: d.of(['https://evil.example/mcp', `${base}/other`, `${base}/mcp#x`, 'x', `${base}@evil.example/mcp`]) }, { response_type: d.of(['token', 'id_token', 'code token', '']) },
    { request: part({ a: 1 }) }, { request_uri: 'https://evil.example/r' }, { state: d.of(TEXTS) }, { scope: d.of(TEXTS) }, { ui_locales: d.of(TEXTS) }, { response_mode: 'form_post' }, { prompt: 'none' },
  ]) });
  return [
    // /register: S7, S8, S10, S33
    (d) => ['/register', json({ client_name: d.of(TEXTS), redirect_uris: [d.of(URIS)], token_endpoint_auth_method: d.of(['none', 'client_secret_basic', 'x', null, 7]) })],
    (d) => ['/register', json({ redirect_uris: [`${base}/callback/idp`, own.redirect].slice(0, 1 + d.below(2)) })],
    (d) => ['/register', json({ redirect_uris: Array.from({ length: d.of([11, 1000, 10_000]) }, (_, n) => `https://e.example/${n}`) })],
    (d) => ['/register', json(d.of(['', '{', '[]', 'null', '"x"', '['.repeat(20_000), '{"redirect_uris":'.repeat(500), `{"client_name":"${'x'.repeat(1_000_000)}"}`, '{"redirect_uris":{"a":1}}', '\ufeff{}', '{"redirect_uris":[1,2]}', '{"a":1e999}']))],
    // /authorize: S1, S4, S6, S7, S22, S29
    (d) => [`/authorize?${query(asking(d))}`, { headers: { accept: d.of(['text/html', '*/*', 'application/json']) } }],
    (d) => [`/authorize?${query(asking(d))}&${query({ [d.of(['state', 'client_id', 'redirect_uri', 'scope'])]: d.of(URIS) })}`, {}],
    (d) => ['/authorize', form(asking(d))],
    (d) => [`/authorize?${d.of(['%', '&&&===', 'client_id=%ff%fe', `a=${'b&a='.repeat(3000)}`])}`, {}],
    // /consent and /callback: S2, S3, S12
    (d) => ['/consent', form({ request: d.of([own.form, bent(d, own.form), d.of(TEXTS)]), decision: d.of(['approve', 'deny', 'x']) })],
    (d) => ['/consent', { ...form({ request: own.form, decision: 'approve' }), headers: { 'content-type': 'application/x-www-form-urlencoded', origin: d.of(['https://evil.example', 'null', base]), 'sec-fetch-site': d.of(['cross-site', 'same-origin', 'none']), cookie: d.of(['a=b', `vb=${own.code}`, '='.repeat(3000)]) } }],
    (d) => [`/callback/${d.of(['idp', 'nobody', '..%2fidp', ''])}?${query({ state: d.of([own.state, bent(d, own.state), 'vs_AAAA', d.of(TEXTS)]), code: d.of(TEXTS), iss: d.of(['https://evil.example', base, '']), error: d.of(['access_denied', '<b>', '']), error_description: d.of(TEXTS) })}`, {}],
    // /token: S5, S6, S11, S13, S35
    (d) => ['/token', form({ grant_type: 'authorization_code', code: d.of([own.code, bent(d, own.code), d.of(TEXTS)]), client_id: d.of([own.client, bent(d, own.client), 'x']), redirect_uri: d.of([own.redirect, d.of(URIS)]), code_verifier: d.of(['', 'x'.repeat(43), d.of(TEXTS)]) })],
    (d) => ['/token', form({ grant_type: 'refresh_token', refresh_token: d.of([bent(d, own.refresh), own.access, own.code, d.of(TEXTS)]), client_id: own.client, resource: d.of(['https://evil.example', '']) })],
    (d) => ['/token', form([['grant_type', 'refresh_token'], ['grant_type', d.of(['password', 'refresh_token'])], ['client_id', own.client], ['client_id', 'x']])],
    (d) => ['/token', form({ grant_type: d.of(['password', 'client_credentials', 'urn:ietf:params:oauth:grant-type:device_code', 'urn:ietf:params:oauth:grant-type:token-exchange', 'urn:ietf:params:oauth:grant-type:jwt-bearer', 'urn:ietf:params:oauth:grant-type:saml2-bearer', '']), client_id: own.client, username: 'root', password: d.of(TEXTS), assertion: confused(d), subject_token: own.access })],
    (d) => ['/token', { ...form({ grant_type: 'refresh_token', refresh_token: own.old }), headers: { 'content-type': 'application/x-www-form-urlencoded', authorization: `${d.of(['Basic', 'basic', 'Bearer', 'Digest'])} ${d.of([Buffer.from(`${own.client}:x`).toString('base64'), '!!!', '', Buffer.from(':').toString('base64'), Buffer.from('\0\xff:%zz').toString('base64')])}` } }],
    (d) => ['/token', form({ grant_type: 'authorization_code', code: 'x', client_id: own.client, client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion: confused(d) })],
    (d) => ['/token', d.of([json({ grant_type: 'refresh_token', refresh_token: own.old }), { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=x' }, body: '--x' }, { method: 'GET' }, form('&'.repeat(50_000)), form({ a: 'x'.repeat(2_000_000) })])],
    // /revoke and /introspect: S13
    (d) => [d.of(['/revoke', '/introspect']), form({ token: d.of([bent(d, own.access), bent(d, own.refresh), d.of(TEXTS)]), client_id: d.of([own.client, own.other, 'x']), token_type_hint: d.of(TEXTS) })],
    (d) => ['/revoke', form({ token: d.of([own.access, own.refresh]), client_id: own.other })],
    // the gate: S4, S14, S15, S17, S23, S24, S27, S28, S35
    (d) => ['/mcp', { ...json(d.of(['{}', '{', '['.repeat(10_000), '{"method":"tools/call","method":"initialize"}'])), headers: { 'content-type': 'application/json', authorization: `Bearer ${confused(d)}`.slice(0, 12_000) } }],
    (d) => ['/mcp', { ...json('{}'), headers: { authorization: d.of(['Bearer', 'Bearer  ', 'bearer x y', 'Basic eDp5', `Bearer ${own.access}, Bearer x`]), 'x-forwarded-user': 'root', 'x-forwarded-email': 'root@example.com', x_forwarded_groups: 'admins', connection: 'close, X-Forwarded-User' } }],
    (d) => ['/mcp', { ...json('{"jsonrpc":"2.0","id":1,"method":"tools/list"}'), headers: { authorization: `Bearer ${own.access}`, 'content-type': 'application/json', origin: d.of(['https://evil.example', 'null', 'http://localhost.evil.example']) } }],
    (d) => ['/mcp', { ...json('{}'), headers: { host: d.of(['evil.example', `${host}.evil.example`, '169.254.169.254', `${host}@evil.example`, '']), authorization: `Bearer ${own.access}` } }],
    (d) => [d.of(PATHS), { method: d.of(['GET', 'POST', 'PUT', 'TRACE', 'OPTIONS', 'DELETE', 'PROPFIND']), headers: { authorization: `Bearer ${own.access}`, 'x-original-url': '/admin', 'x-rewrite-url': '/mcp' } }],
    (d) => ['/mcp', { method: d.of(['GET', 'DELETE']), headers: { 'mcp-session-id': d.of(['../../x', 'a'.repeat(5000), own.code]), 'last-event-id': d.of(['-1', 'x'.repeat(3000)]), 'mcp-protocol-version': d.of(TEXTS).replace(/[^\x21-\x7e]/g, '?') } }],
    // discovery: S15, S25
    (d) => [d.of(['/.well-known/oauth-authorization-server', '/.well-known/oauth-protected-resource/mcp', '/.well-known/openid-configuration/mcp', '/jwks', '/.well-known/webfinger']), { headers: { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'gopher', forwarded: 'host=evil.example;proto=https', range: 'bytes=0-1,1-2', 'accept-encoding': 'zstd, br' } }],
    (d) => [d.of(['/device', '/device_authorization', '/consent', '/token', '/jwks', '/']), { method: d.of(['GET', 'POST', 'PATCH', 'OPTIONS', 'HEAD']), headers: { 'x-request-id': d.of(['"><script>', 'a'.repeat(4000), own.access.slice(0, 60)]), cookie: d.of(TEXTS).replace(/[^\x21-\x7e]/g, '?') } }],
  ];
}

/** What no HTTP library would send. */
const RAW = (host, own) => [
  'GET / HTTP/9.9\r\n\r\n', '\0\0\0\0\0\r\n\r\n', 'GET /mcp HTTP/1.1\r\n\r\n', `GET http://evil.example/mcp HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
  `POST /mcp HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${own.access}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  `POST /token HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\n`, `POST /token HTTP/1.1\r\nHost: ${host}\r\nContent-Length: -1\r\n\r\n`, `POST /token HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 99999999999999999999\r\n\r\n`,
  `POST /register HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n`, `GET /authorize?${'a'.repeat(200_000)} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  `GET / HTTP/1.1\r\nHost: ${host}\r\n${'X-A: b\r\n'.repeat(5000)}\r\n`, `GET / HTTP/1.1\r\nHost: ${host}\r\nX-A: ${'b'.repeat(500_000)}\r\n\r\n`, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  `GET / HTTP/1.1\nHost: ${host}\n\n`, `GET /mcp HTTP/1.1\r\nHost: ${host}\r\nHost: evil.example\r\n\r\n`, `CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n`, `GET /callback/idp?state=\xff\xfe HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
];

/** One request as it is told; the answer as text, or why there is none. */
const send = (agent, { port, publicUrl }, [at, { method = 'GET', headers = {}, body }], from) => new Promise((resolve) => {
  let request;
  try {
    // Node refuses bytes that a path cannot hold; an attacker's library would encode them, too.
    const safe = at.replace(/[^\x21-\x7e]/g, encodeURIComponent);
    request = http.request({ agent, host: '127.0.0.1', port, method, path: safe, headers: { host: new URL(publicUrl).host, 'x-forwarded-for': from, ...(body && { 'content-length': Buffer.byteLength(body) }), ...headers }, timeout: 20_000 });
  } catch (error) {
    return resolve({ unsent: error.message });
  }
  request.on('response', (response) => {
    let text = `${response.statusCode}\n${response.rawHeaders.join('\n')}\n`;
    response.setEncoding('utf8');
    response.on('data', (chunk) => (text += chunk));
    response.on('end', () => resolve({ status: response.statusCode, text }));
    response.on('error', () => resolve({ status: response.statusCode, text }));
  });
  request.on('timeout', () => request.destroy(new Error('no answer in 20 s')));
  // A body that is too long is cut off by the answer: what counts is that one came, or that the line was closed.
  request.on('error', (error) => resolve({ closed: error.message }));
  request.end(body);
});

const sendRaw = (port, bytes) => new Promise((resolve) => {
  let text = '';
  const socket = net.connect(port, '127.0.0.1', () => socket.write(Buffer.from(bytes, 'latin1')));
  socket.setTimeout(1500, () => socket.destroy());
  socket.on('data', (chunk) => (text += chunk.toString('latin1')));
  socket.on('error', () => {});
  socket.on('close', () => resolve({ status: Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1] ?? 0), text }));
});

/** Kibibytes that the process holds. */
const resident = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

test(`${REQUESTS} hostile requests beside people who log in`, { timeout: 600_000 }, async (t) => {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const { server, provider } = await scene(t, {
    provider: (at) => startOidc({ ...at, alwaysRefresh: true }),
    target: echo.url,
    // Each attacker has an address of his own, so that most of what he sends gets past the rate limit. The few who send
    // no HTTP that a proxy would carry have none: they share the people's, which has room for both; and all logins are one person's.
    settings: { limits: { trusted_proxies: ['127.0.0.1'], requests_per_minute: 6000, person_requests_per_minute: 0 }, telemetry: { log: 'info' } },
  });

  // The attacker has an account, too: his own papers are real, and used up where that is to be had.
  const mallory = await ts.login(server.resource(), new Browser());
  await mallory.client.close();
  const other = await ts.wallet({ clientName: 'Another' });
  await ts.begin(server.resource(), other);
  const page = await new Browser().request(new URL(other.authorizeUrl));
  const callback = new URL(server.tap.to('/callback/idp')[0].url, server.publicUrl);
  const own = {
    access: mallory.keeper.issued.access_token,
    refresh: mallory.keeper.issued.refresh_token,
    old: mallory.keeper.issued.refresh_token,
    code: mallory.answer.get('code'),
    client: mallory.keeper.information.client_id,
    other: other.information.client_id,
    redirect: String(mallory.keeper.redirectUrl),
    state: callback.searchParams.get('state'),
    form: /name="request"[^>]*value="([^"]*)"/.exec(page.body)[1],
  };

  const d = dice(SEED);
  const kinds = arsenal(server.publicUrl, own);
  const raw = RAW(new URL(server.publicUrl).host, own);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 24 });
  t.after(() => agent.destroy());
  const tally = new Map();
  const bad = [];
  const answers = [];
  const sizes = [];
  let sent = 0;
  const attacker = async () => {
    while (sent < REQUESTS) {
      sent += 1;
      const strange = d.chance(0.03);
      const from = `203.0.113.${d.below(254)}`;
      const request = strange ? d.of(raw) : d.of(kinds)(d);
      const outcome = strange ? await sendRaw(server.port, request) : await send(agent, server, request, from);
      const key = outcome.status ?? (outcome.unsent ? 'unsent' : 'closed');
      tally.set(key, (tally.get(key) ?? 0) + 1);
      if (outcome.status >= 500 || /no answer/.test(outcome.closed ?? '')) bad.push(`${outcome.status ?? outcome.closed}: ${JSON.stringify(request).slice(0, 600)} → ${outcome.text?.slice(0, 600)}`);
      if (outcome.text) answers.push(outcome.text);
      if (sent >= (sizes.length + 1) * 1000) sizes.push(resident(server.pid));
    }
  };

  // People, one after the other, all the while: log in, call, refresh, call.
  let logins = 0;
  let slowest = 0;
  const people = async () => {
    while (sent < REQUESTS || logins < 3) {
      const begun = performance.now();
      const { client, keeper } = await within(90_000, 'a login', ts.login(server.resource(), new Browser()));
      assert.match(ts.textOf(await client.callTool({ name: 'headers', arguments: {} })), /authorization/);
      const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: keeper.issued.refresh_token, client_id: keeper.information.client_id });
      assert.equal((await fetch(`${server.publicUrl}/token`, { method: 'POST', body: form })).status, 200, 'a refresh');
      await client.close();
      slowest = Math.max(slowest, performance.now() - begun);
      logins += 1;
    }
  };
  const begun = performance.now();
  await Promise.all([people(), ...Array.from({ length: 8 }, attacker)]);
  const seconds = (performance.now() - begun) / 1000;
  await sleep(300);
  const end = resident(server.pid);
  t.diagnostic(`${REQUESTS} requests in ${seconds.toFixed(0)} s: ${JSON.stringify(Object.fromEntries([...tally].sort()))}`);
  t.diagnostic(`${logins} logins beside them, the slowest in ${slowest.toFixed(0)} ms; resident KiB after each thousand: ${sizes.join(' ')}, at the end ${end}`);

  assert.deepEqual(bad.slice(0, 5), [], `${bad.length} faults of ours`);
  assert.ok(!tally.has('unsent'), 'every request is one that can be sent');
  assert.ok((tally.get(429) ?? 0) < REQUESTS / 10, 'most of them got past the rate limit');
  assert.ok((tally.get(400) ?? 0) > REQUESTS / 10 && (tally.get(401) ?? 0) > REQUESTS / 50, 'and were looked at');
  assert.ok(logins >= 3);
  // What the second half of it left behind.
  if (sizes.length >= 8) assert.ok(end < sizes[Math.floor(sizes.length / 2)] + 16 * 1024, `memory grew: ${sizes.join(' ')} ${end}`);

  const secrets = harvest(server.tap, provider.tap);
  secrets.set(provider.clientSecret, 'the secret at the provider');
  secrets.set(readFileSync(path.join(server.dir, 'master.key'), 'utf8').trim(), 'the master key');
  await server.stop();
  const said = server.output();
  assert.doesNotMatch(said, /panicked|something broke/);
  assert.deepEqual(leaks(secrets, said).slice(0, 5), [], 'in the log');
  // What the attacker brought himself comes back to him, as `state` does. Other people's papers do not.
  const mine = JSON.stringify(own);
  const foreign = new Map([...secrets].filter(([secret]) => !mine.includes(secret)));
  assert.ok(foreign.size > 20, 'there were secrets to be found');
  assert.deepEqual(leaks(foreign, answers.join('\n')).slice(0, 5), [], 'in the answers');
  assert.doesNotMatch(answers.join('\n'), /panicked|\/src\/|\.rs:\d+|RUST_BACKTRACE|root:x:0/, 'nothing of our inside');
});
