// `mcp-remote`, as Claude Desktop configurations run it: MCP over stdio on one side, a login in a browser on the other.
import http from 'node:http';
import path from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { freePort, HERE, MODULES, scratch, until, within } from '../kit.mjs';

/**
 * With the `home` of another one it is a second copy of that one, and shares its tokens. `told` are further arguments.
 * @returns {Promise<{ client: Client, log: () => string, close: () => Promise<void>, opened: Promise[], home: string }>}
 */
export async function login(t, url, browser, home = scratch(t, 'mcp-remote-'), { port, told = [] } = {}) {
  const opened = [];
  // The "desktop": whatever is opened is walked through, and the answer delivered to mcp-remote's own listener.
  const desktop = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      response.end();
      const start = new URLSearchParams(body).get('url');
      opened.push(browser.deliver(start, new URL(start).searchParams.get('redirect_uri'), listening));
      opened.at(-1).catch(() => {});
    });
  });
  const desktopPort = await freePort();
  await new Promise((resolve) => desktop.listen(desktopPort, '127.0.0.1', resolve));
  t.after(() => desktop.close());

  let log = '';
  // It keeps a code that comes before it waits, but loses a refusal (0.15.1), which no person could be quick enough for.
  const listening = (answer) => answer.searchParams.has('error') && until('mcp-remote to wait for its answer', () => /Waiting for authorization/.test(log));
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [path.join(MODULES, 'mcp-remote/dist/proxy.js'), url, String(port ?? (await freePort())), ...told],
    env: {
      PATH: process.env.PATH,
      HOME: home,
      MCP_REMOTE_CONFIG_DIR: path.join(home, 'auth'),
      BROWSER: `node ${path.join(HERE, 'clients/open-browser.mjs')}`.replace(/^node/, process.execPath),
      INTEROP_BROWSER: `http://127.0.0.1:${desktopPort}/open`,
    },
    stderr: 'pipe',
  });
  transport.stderr.on('data', (chunk) => (log += chunk));
  const client = new Client({ name: 'interop-desktop', version: '1.0.0' });
  const close = () => client.close();
  t.after(close);
  try {
    await within(45_000, 'the login of mcp-remote', client.connect(transport));
  } catch (error) {
    const ways = await Promise.allSettled(opened);
    throw new Error(`${error.message}\n--- browser\n${browser.story()}\n${ways.map((way) => way.reason ?? '').join('\n')}\n--- mcp-remote\n${log}`);
  }
  return { client, close, log: () => log, opened, home };
}
