// The product under test: writes its file, starts it, listens to all it says, and stops it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Child, Died, freePort, present, ROOT, scratch, until } from './kit.mjs';
import { startTap } from './parts/tap.mjs';

export const BINARY = path.resolve(ROOT, process.env.VESTIBULE_BIN ?? 'target/debug/vestibule');

/**
 * Where an installation will live, known before it starts: providers must be told the callback first.
 * Clients reach it through a tap, so `public_url` is not the address it listens on, as in real life.
 */
export async function plan(t) {
  const port = await freePort();
  const tap = await startTap({ target: `http://127.0.0.1:${port}` });
  t.after(() => tap.stop());
  return { port, tap, publicUrl: tap.url, callback: (upstream) => `${tap.url}/callback/${upstream}` };
}

/**
 * @param {object} place what `plan` gave
 * @param {{ upstream: object, resource: object[] | object, settings?: object, store?: object, env?: object }} file
 */
export async function startVestibule(t, place, { upstream, resource, settings = {}, store = { kind: 'memory' }, env = {} }) {
  if (!present(BINARY)) throw new Error(`no binary at ${BINARY}: build it, or set VESTIBULE_BIN`);
  const dir = scratch(t);
  const adminPort = await freePort();
  writeFileSync(path.join(dir, 'master.key'), `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
  if (store.kind === 'sled') {
    store = { kind: 'sled', path: path.join(dir, 'data'), ...store };
    mkdirSync(store.path, { recursive: true });
  }
  const config = {
    public_url: place.publicUrl,
    listen: `127.0.0.1:${place.port}`,
    secret_key: `file:${path.join(dir, 'master.key')}`,
    ...Object.fromEntries(Object.entries(settings).filter(([, value]) => isPlain(value))),
    store,
    upstream,
    resource: [resource].flat().map((one) => ({ path: '/mcp', upstream: Object.keys(upstream)[0], inject: 'upstream_token', allow: 'anyone', ...one })),
    ...Object.fromEntries(Object.entries(settings).filter(([, value]) => !isPlain(value))),
    admin: { listen: `127.0.0.1:${adminPort}` },
  };
  const file = path.join(dir, 'vestibule.toml');
  writeFileSync(file, toml(config));

  const start = async () => {
    const child = new Child(BINARY, ['serve', '--config', file], { env, cwd: dir, name: 'vestibule' });
    await until('vestibule to be ready', async () => {
      if (child.ended) throw new Died(child);
      return (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).ok;
    }, 20_000).catch(async (error) => {
      await child.stop('SIGKILL').catch(() => {});
      throw new Error(`${error.message}\n--- ${file}\n${toml(config)}\n--- output\n${child.output}`);
    });
    return child;
  };
  /** Ends a process as an operator would, and holds it to a clean end. */
  const end = async (child) => {
    const ended = await child.stop('SIGTERM');
    assert.doesNotMatch(child.output, /panicked at/, 'it must never panic');
    assert.deepEqual({ code: ended.code, signal: ended.signal }, { code: 0, signal: null }, `SIGTERM ends it cleanly\n${child.output}`);
  };

  let child = await start();
  let past = '';
  let stopped = false;
  const server = {
    ...place,
    file,
    dir,
    config,
    admin: `http://127.0.0.1:${adminPort}`,
    resource: (at = '/mcp') => `${place.publicUrl}${at}`,
    /** The process that runs now. */
    get pid() {
      return child.process.pid;
    },
    /** All that it ever said, over all restarts. */
    output: () => past + child.output,
    /** Ends it and starts it again with the same file, key and folder. */
    async restart() {
      await end(child);
      past += child.output;
      child = await start();
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      await end(child);
    },
  };
  t.after(() => server.stop());
  return server;
}

/** The whole scene most suites play in: one provider, one MCP server, and vestibule between them. */
export async function scene(t, { provider: startProvider, target, name = 'idp', ...file }) {
  const place = await plan(t);
  const provider = await startProvider({ redirectUri: place.callback(name) });
  t.after(() => provider.stop());
  const { resource = {}, upstream = {}, ...rest } = file;
  const server = await startVestibule(t, place, {
    upstream: { [name]: { ...provider.upstream, ...upstream } },
    resource: { target, ...resource },
    ...rest,
  });
  return { provider, server };
}

const isPlain = (value) => !isTable(value) && !(Array.isArray(value) && value.some(isTable));
const isTable = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

/** Just enough TOML: scalars, arrays of scalars, inline tables for `allow` and `inject`, tables and arrays of tables. */
export function toml(table, at = []) {
  const inline = new Set(['allow', 'inject', 'params', 'claims']);
  const scalar = (value) => (Array.isArray(value) ? `[${value.map(scalar).join(', ')}]`
    : isTable(value) ? `{ ${Object.entries(value).map(([k, v]) => `${key(k)} = ${scalar(v)}`).join(', ')} }`
    : JSON.stringify(value));
  const own = [];
  const below = [];
  for (const [name, value] of Object.entries(table)) {
    if (value === undefined) continue;
    if (Array.isArray(value) && value.some(isTable) && !inline.has(name)) for (const one of value) below.push(`\n[[${[...at, name].map(key).join('.')}]]\n${toml(one, [...at, name])}`);
    else if (isTable(value) && !inline.has(name)) {
      const inside = toml(value, [...at, name]);
      const onlyTables = Object.values(value).every((v) => isTable(v) && !inline.has(name));
      below.push(onlyTables && Object.keys(value).length ? inside : `\n[${[...at, name].map(key).join('.')}]\n${inside}`);
    } else own.push(`${key(name)} = ${scalar(value)}\n`);
  }
  return own.join('') + below.join('');
}
const key = (name) => (/^[\w-]+$/.test(name) ? name : JSON.stringify(name));
