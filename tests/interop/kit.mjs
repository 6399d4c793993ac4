// What every suite needs: places, free ports, children that never outlive their test, and a clock that gives up.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const HERE = path.dirname(fileURLToPath(import.meta.url));
export const ROOT = path.resolve(HERE, '../..');
export const TESTBED = process.env.TESTBED_DIR ?? path.join(ROOT, 'target/testbed');
export const MODULES = path.join(HERE, 'node_modules');

const given = new Set();

/**
 * A loopback port nobody listens on, and that this process has not handed out before. Taken below the range from which
 * systems give outgoing connections theirs, so that none of those takes it before its server starts.
 */
export async function freePort() {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    if (given.has(port)) continue;
    given.add(port);
    const free = await new Promise((resolve) => {
      const probe = createServer();
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for `probe` to give something true; throws with `what` after `ms`. */
export async function until(what, probe, ms = 15_000) {
  const end = Date.now() + ms;
  let last;
  while (Date.now() < end) {
    try {
      const value = await probe();
      if (value) return value;
    } catch (error) {
      if (error instanceof Died) throw error;
      last = error;
    }
    await sleep(50);
  }
  throw new Error(`timed out after ${ms} ms waiting for ${what}${last ? `: ${last.message}` : ''}`);
}

/** `promise`, or an error that names what took too long. */
export function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A folder of its own below the temporary directory; gone after the test. */
export function scratch(t, name = 'vestibule-') {
  const dir = mkdtempSync(path.join(tmpdir(), name));
  t?.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function artifacts(...parts) {
  const dir = path.join(TESTBED, ...parts);
  mkdirSync(dir, { recursive: true });
  return dir;
}

const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/** A child whose output is kept whole, and read line by line when asked. */
export class Child {
  constructor(command, args, { env = {}, cwd, name = path.basename(command) } = {}) {
    this.name = name;
    this.stdout = '';
    this.stderr = '';
    this.output = '';
    this.process = spawn(command, args, { cwd, env: { ...cleanEnv(), ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    children.add(this.process);
    for (const stream of ['stdout', 'stderr']) {
      this.process[stream].setEncoding('utf8');
      this.process[stream].on('data', (text) => {
        this[stream] += text;
        this.output += text;
      });
    }
    this.process.stdin.on('error', () => {});
    this.exited = new Promise((resolve) => {
      this.process.once('error', (error) => {
        this.output += String(error);
        resolve({ code: null, signal: null, error });
      });
      this.process.once('close', (code, signal) => {
        children.delete(this.process);
        this.ended = { code, signal };
        resolve(this.ended);
      });
    });
  }

  write(line) {
    this.process.stdin.write(`${line}\n`);
  }

  /** The first match of `pattern` in stdout; fails at once when the child dies before printing it. */
  async match(pattern, ms = 30_000) {
    return until(
      `${this.name} to print ${pattern}`,
      () => {
        const found = pattern.exec(this.stdout);
        if (!found && this.ended) throw new Died(this);
        return found;
      },
      ms,
    ).catch((error) => {
      throw new Error(`${error.message}\n--- output of ${this.name}\n${this.output}`);
    });
  }

  async stop(signal = 'SIGTERM', ms = 10_000) {
    if (!this.ended) this.process.kill(signal);
    try {
      return await within(ms, `stopping ${this.name}`, this.exited);
    } catch (error) {
      this.process.kill('SIGKILL');
      throw error;
    }
  }
}

/** A child that is gone will not do what one waits for. */
export class Died extends Error {
  constructor(child) {
    super(`${child.name} ended with ${JSON.stringify(child.ended)}`);
  }
}

// A proxy setting or a stray preload of the caller's must not reach the parts.
function cleanEnv() {
  const env = { ...process.env };
  for (const name of Object.keys(env)) {
    if (/^(https?|all|no)_proxy$/i.test(name) || /^NODE_(OPTIONS|TEST_CONTEXT|CHANNEL_FD)$/.test(name) || name.startsWith('VESTIBULE__')) delete env[name];
  }
  return env;
}

/** Skips aloud, or fails where nothing may be skipped (CI). */
export function missing(t, what) {
  if (process.env.CI) throw new Error(`${what} is missing, and CI is set`);
  process.stdout.write(`SKIPPED: ${what} is missing\n`);
  t.skip(`${what} is missing`);
}

export const present = (file) => Boolean(file) && existsSync(file);
