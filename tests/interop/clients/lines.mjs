// Clients that are programs of their own and speak by lines: they print `AUTHORIZE <url>`, wait for the callback URL
// on standard input, and print one line of JSON about the tool call they made.
import path from 'node:path';
import { Child, freePort, HERE, present, TESTBED, until, within } from '../kit.mjs';

export const PYTHON = path.join(TESTBED, 'venv/bin/python');
/** The packages of the Python SDK's older era, before those of the newer. */
const OLDER = path.join(TESTBED, 'older');
export const RMCP = process.env.RMCP_CLIENT;

/**
 * Where the client gives up, `result` is `{ error }`.
 * @returns {Promise<{ result: object, child: Child, callback: URL }>}
 */
async function drive(child, browser, callback, seconds = 0) {
  try {
    const [, url] = await child.match(/^AUTHORIZE (\S+)$/m);
    const redirect = callback ?? new URL(url).searchParams.get('redirect_uri');
    const end = await browser.walk(url, { callback: redirect });
    if (!end.callback) throw new Error(`no callback, but a page: ${end.page.status} ${end.page.url}\n${end.page.body}`);
    child.write(end.callback.href);
    const line = await until(`the last line of ${child.name}`, () => /^\{.*\}$/m.exec(child.stdout)?.[0] ?? (child.ended && 'none'), 30_000 + seconds * 1000)
      .catch((error) => { throw new Error(`${error.message}\n--- output of ${child.name}\n${child.output}`); });
    await within(15_000, `the end of ${child.name}`, child.exited);
    return { result: line === 'none' ? { error: child.output } : JSON.parse(line), child, callback: end.callback };
  } finally {
    if (!child.ended) await child.stop('SIGKILL').catch(() => {});
  }
}

/**
 * With `seconds` it goes on calling a tool for so long after the login, once a second.
 * @param {{ seconds?: number, era?: 1 | 2, wire?: 'http' | 'sse', redirect?: string, keep?: string, document?: string }} how
 *   `keep` is a file for its registration, `document` the address of a description of it.
 */
export async function python(url, browser, { seconds, era = 2, wire = 'http', auto = false, redirect, keep, document } = {}) {
  redirect ??= `http://127.0.0.1:${await freePort()}/callback`;
  const told = [wire === 'sse' && ['--sse'], auto && ['--auto'], seconds && ['--seconds', String(seconds)], keep && ['--keep', keep], document && ['--document', document]];
  const child = new Child(PYTHON, ['-u', path.join(HERE, 'clients/python_client.py'), url, redirect, ...told.filter(Boolean).flat()], {
    name: `python client ${era}`,
    env: era === 1 ? { PYTHONPATH: OLDER } : {},
  });
  return drive(child, browser, redirect, seconds);
}

export const havePython = (era = 2) => present(PYTHON) && (era === 2 || present(OLDER));

/** The official Rust SDK, as `examples/rmcp_client.rs` uses it; `id` is that of an earlier registration. */
export async function rmcp(url, browser, { seconds = 0, redirect, id } = {}) {
  redirect ??= `http://127.0.0.1:${await freePort()}/callback`;
  return drive(new Child(RMCP, [url, redirect, String(seconds), ...(id ? [id] : [])], { name: 'rmcp client' }), browser, redirect, seconds);
}
export const haveRmcp = () => present(RMCP);
