// Clients that are programs of their own and speak by lines: they print `AUTHORIZE <url>`, wait for the callback URL
// on standard input, and print one line of JSON about the tool call they made.
import path from 'node:path';
import { Child, freePort, HERE, present, TESTBED, within } from '../kit.mjs';

export const PYTHON = path.join(TESTBED, 'venv/bin/python');
export const RMCP = process.env.RMCP_CLIENT;

/** @returns {Promise<{ result: object, child: Child, callback: URL }>} */
async function drive(child, browser, callback, seconds = 0) {
  try {
    const [, url] = await child.match(/^AUTHORIZE (\S+)$/m);
    const redirect = callback ?? new URL(url).searchParams.get('redirect_uri');
    const end = await browser.walk(url, { callback: redirect });
    if (!end.callback) throw new Error(`no callback, but a page: ${end.page.status} ${end.page.url}\n${end.page.body}`);
    child.write(end.callback.href);
    const [line] = await child.match(/^\{.*\}$/m, 30_000 + seconds * 1000);
    await within(15_000, `the end of ${child.name}`, child.exited);
    return { result: JSON.parse(line), child, callback: end.callback };
  } finally {
    if (!child.ended) await child.stop('SIGKILL').catch(() => {});
  }
}

/** With `seconds` it goes on calling a tool for so long after the login, once a second. */
export async function python(url, browser, seconds) {
  const redirect = `http://127.0.0.1:${await freePort()}/callback`;
  const child = new Child(PYTHON, ['-u', path.join(HERE, 'clients/python_client.py'), url, redirect, ...stay(seconds)], { name: 'python client' });
  return drive(child, browser, redirect, seconds);
}

const stay = (seconds) => (seconds ? [String(seconds)] : []);

export const havePython = () => present(PYTHON);

/** The official Rust SDK, as `examples/rmcp_client.rs` uses it. */
export async function rmcp(url, browser, seconds) {
  const redirect = `http://127.0.0.1:${await freePort()}/callback`;
  return drive(new Child(RMCP, [url, redirect, ...stay(seconds)], { name: 'rmcp client' }), browser, redirect, seconds);
}
export const haveRmcp = () => present(RMCP);
