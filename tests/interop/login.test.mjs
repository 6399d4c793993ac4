// `vestibule login` at servers of others: the SDK's example, a strict provider of its own, and server-everything behind us.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import { Child, scratch, until, within } from './kit.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEverything } from './parts/servers.mjs';
import { startOwnProvider, startSdkExample } from './parts/strangers.mjs';
import { BINARY, scene } from './vestibule.mjs';

const home = (t) => ({ dir: scratch(t, 'login-'), t });

function begin({ dir, t }, url, ...args) {
  const env = { HOME: dir, XDG_STATE_HOME: path.join(dir, 'state') };
  const child = new Child(BINARY, ['login', url, '--keep', 'file', ...args], { env, cwd: dir, name: `vestibule login ${args.join(' ')}` });
  t.after(() => child.ended ?? child.stop('SIGKILL'));
  return child;
}

async function end(child) {
  const { code } = await within(30_000, child.name, child.exited);
  assert.equal(code, 0, child.output);
  assert.doesNotMatch(child.output, /panicked at/);
  return child;
}

const run = async (at, url, ...args) => end(begin(at, url, ...args));

const said = (child, pattern) => until(`${child.name} to say ${pattern}`, () => {
  if (child.ended && !pattern.test(child.stderr)) throw new Error(child.output);
  return pattern.exec(child.stderr);
});

/** The whole login, by a person at a browser. */
async function login(at, url, ...args) {
  const child = begin(at, url, '--no-browser', ...args);
  const [address] = await said(child, /http:\S+code_challenge=\S+/);
  const redirect = new URL(address).searchParams.get('redirect_uri');
  const browser = new Browser();
  const way = await browser.deliver(address, redirect);
  assert.ok(way.callback, `${browser.story()}\n${way.page?.body}`);
  return end(child);
}

const record = ({ dir }) => {
  const folder = path.join(dir, 'state/vestibule/logins');
  const [name] = readdirSync(folder).filter((file) => file.endsWith('.json'));
  const file = path.join(folder, name);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  return JSON.parse(readFileSync(file, 'utf8'));
};

test('server-everything behind us and oidc-provider: explained, printed, renewed, revoked', { timeout: 90_000 }, async (t) => {
  const everything = await startEverything();
  t.after(() => everything.stop());
  const { server } = await scene(t, { provider: startOidc, target: everything.url });
  const at = home(t);
  const { stdout } = await login(at, server.resource(), '--explain', '--strict');
  assert.match(stdout, /offers \d+ tools/);
  const { tokens } = record(at);
  assert.ok(!stdout.includes(tokens.access) && !stdout.includes(tokens.refresh), 'no token in an explanation');
  const first = await run(at, server.resource(), '--print-token');
  assert.equal(first.stdout, `${tokens.access}\n`);
  await run(at, server.resource(), '--refresh');
  const second = await run(at, server.resource(), '--print-token');
  assert.notEqual(second.stdout, first.stdout);
  await run(at, server.resource(), '--logout');
  const call = await fetch(server.resource(), { method: 'POST', headers: { authorization: `Bearer ${second.stdout.trim()}` } });
  assert.equal(call.status, 401, 'the login is over');
});

test("the TypeScript SDK's own example", { timeout: 60_000 }, async (t) => {
  const example = await startSdkExample();
  t.after(() => example.stop());
  const at = home(t);
  const { stdout } = await login(at, example.url, '--json');
  const told = JSON.parse(stdout);
  assert.ok(told.ok && told.result.server.tools > 0, stdout);
  assert.equal(told.failed, null);
  assert.deepEqual(told.steps.map(({ name }) => name), ['probe', 'resource metadata', 'server metadata', 'client', 'authorization', 'token', 'keep', 'call']);
});

test('a strict provider of its own, by browser: tokens for this server, refresh, logout', { timeout: 60_000 }, async (t) => {
  const own = await startOwnProvider();
  t.after(() => own.stop());
  const at = home(t);
  const { stdout } = await login(at, own.url);
  assert.match(stdout, /own-provider 1\.0\.0 offers 1 tool\./);
  assert.equal(own.seen.at(-1).aud, own.url);
  const before = record(at).tokens;
  assert.ok(before.refresh, 'offline_access was asked for, with consent');
  await run(at, own.url, '--refresh');
  const after = record(at).tokens;
  assert.ok(after.access !== before.access && after.refresh !== before.refresh, 'rotated');
  await run(at, own.url, '--logout');
});

test('a strict provider of its own, by another device', { timeout: 60_000 }, async (t) => {
  const own = await startOwnProvider();
  t.after(() => own.stop());
  const at = home(t);
  const child = begin(at, own.url, '--device', '--explain');
  const [, complete] = await said(child, /or open (\S+)/);
  const browser = new Browser();
  const { page } = await browser.walk(complete);
  assert.match(page.body, /success/i, browser.story());
  const { stdout } = await end(child);
  assert.match(stdout, /own-provider 1\.0\.0 offers 1 tool\./);
  assert.equal((await run(at, own.url, '--print-token')).stdout.trim(), record(at).tokens.access);
});

test('without a person: discovery alone', { timeout: 30_000 }, async (t) => {
  const own = await startOwnProvider();
  t.after(() => own.stop());
  const { stdout } = await run(home(t), own.url, '--explain', '--no-login');
  assert.match(stdout, /can be logged in to/);
  assert.equal(own.seen.length, 0);
});
