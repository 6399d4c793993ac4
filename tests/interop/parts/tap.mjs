// A transparent proxy in front of any part: it remembers everything that passes, and breaks what it is told to break.
//
// With it a suite knows every code, token and secret that was ever on the wire, whoever sent it, and can hold up
// any part as broken without that part's help.
import http from 'node:http';
import { freePort } from '../kit.mjs';

/**
 * @param {{ target: string, host?: string, port?: number }} options `host` is the name clients use (cookies go by it)
 */
export async function startTap({ target, host = '127.0.0.1', port }) {
  port ??= await freePort();
  const upstream = new URL(target);
  const exchanges = [];
  const faults = [];
  const agent = new http.Agent({ keepAlive: true });

  const server = http.createServer((request, response) => {
    const exchange = { at: Date.now(), method: request.method, url: request.url, headers: request.headers, body: '', status: 0, responseHeaders: {}, responseBody: '' };
    exchanges.push(exchange);
    request.on('data', (chunk) => (exchange.body += chunk));

    const at = faults.findIndex((fault) => fault.when(exchange));
    if (at >= 0) {
      const fault = faults[at];
      if (--fault.times <= 0) faults.splice(at, 1);
      request.resume();
      request.on('end', () => fault.act({ request, response, exchange }));
      return;
    }

    const onward = http.request(
      { agent, host: upstream.hostname, port: upstream.port, method: request.method, path: request.url, headers: request.headers },
      (answer) => {
        exchange.status = answer.statusCode;
        exchange.responseHeaders = answer.headers;
        response.writeHead(answer.statusCode, answer.rawHeaders);
        response.flushHeaders(); // an event stream says nothing for long, and its reader waits for the head
        answer.on('data', (chunk) => (exchange.responseBody += chunk));
        answer.pipe(response);
        answer.on('error', () => response.destroy());
      },
    );
    onward.on('error', (error) => {
      if (response.destroyed) return; // the client left first
      exchange.status = 502;
      if (!response.headersSent) response.writeHead(502, { 'content-type': 'text/plain' });
      response.end(`tap: ${error.message}`);
    });
    response.on('close', () => response.writableFinished || onward.destroy());
    request.pipe(onward);
  });
  server.keepAliveTimeout = 60_000;
  // Names resolve to either family: listen on both, so that no client waits for a fallback.
  const listeners = [server];
  await listen(server, port, '127.0.0.1');
  if (host === 'localhost') {
    const six = http.createServer((request, response) => server.emit('request', request, response));
    try {
      await listen(six, port, '::1');
      listeners.push(six);
    } catch {
      // no IPv6 loopback here
    }
  }

  return {
    port,
    url: `http://${host}:${port}`,
    exchanges,
    /** The exchanges whose path starts with `path`. */
    to: (path) => exchanges.filter((exchange) => exchange.url.startsWith(path)),
    /** Breaks the next `times` matching requests. */
    fail(path, act, times = 1) {
      faults.push({ when: (exchange) => exchange.url.startsWith(path), act, times });
    },
    heal: () => faults.splice(0),
    async stop() {
      if (!server.listening) return;
      agent.destroy();
      await Promise.all(listeners.map((one) => new Promise((resolve) => {
        one.close(resolve);
        one.closeAllConnections();
      })));
    },
  };
}

const listen = (server, port, address) => new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(port, address, resolve);
});

/** Answers for `fail`. */
export const answer = (status, body, headers = { 'content-type': 'application/json' }) => ({ response, exchange }) => {
  exchange.status = status;
  response.writeHead(status, headers);
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
};
export const cut = ({ response }) => response.destroy();
export const hang = () => {};
