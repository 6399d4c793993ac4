// MCP servers to stand behind the gate.
import http from 'node:http';
import path from 'node:path';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { Child, Died, freePort, HERE, MODULES, TESTBED, until } from '../kit.mjs';

/** `server-everything` over streamable HTTP, with sessions. */
export async function startEverything() {
  const port = await freePort();
  const child = new Child(
    process.execPath,
    [path.join(MODULES, '@modelcontextprotocol/server-everything/dist/index.js'), 'streamableHttp'],
    { env: { PORT: String(port) }, name: 'server-everything' },
  );
  const url = `http://127.0.0.1:${port}/mcp`;
  await until('server-everything to listen', async () => {
    if (child.ended) throw new Died(child);
    return (await fetch(url)).status === 400;
  });
  return { url, child, stop: () => child.stop() };
}

/** The same over the oldest wire: a stream at `/sse`, and messages to `/message`. */
export async function startEverythingSse() {
  const port = await freePort();
  const child = new Child(process.execPath, [path.join(MODULES, '@modelcontextprotocol/server-everything/dist/index.js'), 'sse'], {
    env: { PORT: String(port) },
    name: 'server-everything sse',
  });
  await until('server-everything to listen', async () => {
    if (child.ended) throw new Died(child);
    return (await fetch(`http://127.0.0.1:${port}/message`)).status === 404;
  });
  return { url: `http://127.0.0.1:${port}/sse`, child, stop: () => child.stop() };
}

/** A server on the Python SDK with what the official suite looks for, on both wires. */
export async function startConformanceServer() {
  const port = await freePort();
  const child = new Child(path.join(TESTBED, 'venv/bin/python'), [path.join(HERE, 'parts/conformance_server.py'), String(port)], { name: 'conformance_server.py' });
  const url = `http://127.0.0.1:${port}/mcp`;
  await until('the Python server to listen', async () => {
    if (child.ended) throw new Died(child);
    return (await fetch(url)).status < 500;
  });
  return { url, child, stop: () => child.stop('SIGKILL') };
}

/** One tool, `headers`: the headers of the very request that called it. Without sessions, each request on its own. */
export async function startEchoHeaders() {
  const seen = [];
  const server = http.createServer(async (request, response) => {
    seen.push({ method: request.method, url: request.url, headers: request.headers, rawHeaders: request.rawHeaders });
    if (request.method !== 'POST') {
      response.writeHead(405, { allow: 'POST' }).end();
      return;
    }
    const mcp = new McpServer({ name: 'echo-headers', version: '1.0.0' });
    mcp.registerTool('headers', { description: 'The headers this server received.' }, (extra) => ({
      content: [{ type: 'text', text: JSON.stringify(extra.requestInfo.headers) }],
    }));
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
    response.on('close', () => {
      transport.close();
      mcp.close();
    });
    await mcp.connect(transport);
    await transport.handleRequest(request, response);
  });
  const port = await freePort();
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    seen,
    async stop() {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
}
