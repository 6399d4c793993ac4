// The official conformance suite for servers, against a server by itself and against the same server behind vestibule:
// the verdicts have to be the same, check by check (protocol §4.4). Whatever we bent on the way would show here.
//
// The suite's exit code says little: it fails where the server itself lacks something, and succeeds where nothing ran.
// So the verdict is read from the checks it wrote.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import { havePython } from './clients/lines.mjs';
import * as ts from './clients/typescript.mjs';
import { Child, freePort, missing, MODULES, scratch, within } from './kit.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startConformanceServer, startEverything } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

const SUITE = path.join(MODULES, '@modelcontextprotocol/conformance/dist/index.js');

/** The suite knows no tokens: whoever comes here gets one put into his hand. Nothing else is touched. */
async function startHand(t, port, target, token) {
  const agent = new http.Agent({ keepAlive: true });
  const server = http.createServer((request, response) => {
    const headers = [...request.rawHeaders, 'Authorization', `Bearer ${token}`];
    const onward = http.request({ agent, host: '127.0.0.1', port: new URL(target).port, method: request.method, path: request.url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.flushHeaders();
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => response.writableFinished || onward.destroy());
    request.pipe(onward);
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => {
    agent.destroy();
    server.close(resolve);
    server.closeAllConnections();
  }));
}

/** What the suite found: `scenario` → its checks, each with its verdict and why. */
async function suite(t, port, revision) {
  const out = scratch(t, 'conformance-server-');
  // The name `localhost`, as it refuses every other in the rebinding scenario.
  const arguments_ = [SUITE, 'server', '--url', `http://localhost:${port}/mcp`, '--requirements', revision, '-o', out];
  const child = new Child(process.execPath, arguments_, { name: 'conformance' });
  t.after(() => child.ended ?? child.stop('SIGKILL'));
  await within(150_000, 'the suite', child.exited);
  const found = new Map();
  for (const folder of readdirSync(out).sort()) {
    const scenario = folder.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, '');
    const checks = JSON.parse(readFileSync(path.join(out, folder, 'checks.json'), 'utf8'));
    assert.ok(!found.has(scenario), `${scenario} ran twice`);
    found.set(scenario, checks.map(({ id, status, errorMessage = '' }) => `${id}: ${status} ${plain(errorMessage, port)}`.trim()));
  }
  return { found, output: child.output };
}

// What differs between any two runs: ports, ids, times.
const plain = (text, port) => text.replaceAll(String(port), 'PORT').replace(/[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}/g, 'ID').replace(/\d+(\.\d+)?\s?ms/g, 'TIME').replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME');

const count = (found, status) => [...found.values()].flat().filter((check) => check.includes(`: ${status}`)).length;

async function compare(t, { start, revision, scenarios, passed, better = [] }) {
  const behind = await start();
  t.after(() => behind.stop());
  const direct = await suite(t, new URL(behind.url).port, revision);
  // A suite that ran nothing agrees with everything.
  assert.ok(direct.found.size >= scenarios, `only ${direct.found.size} scenarios ran\n${direct.output}`);
  assert.ok(count(direct.found, 'SUCCESS') >= passed, `only ${count(direct.found, 'SUCCESS')} checks passed\n${direct.output}`);

  const hand = await freePort();
  const { server } = await scene(t, {
    provider: startOidc,
    target: behind.url,
    settings: { hosts: [`localhost:${hand}`], origins: [`http://localhost:${hand}`] },
  });
  const { client, keeper } = await ts.login(server.resource(), new Browser());
  await client.close();
  await startHand(t, hand, server.publicUrl, keeper.issued.access_token);
  const proxied = await suite(t, hand, revision);
  t.diagnostic(`${revision}: ${direct.found.size} scenarios, ${count(direct.found, 'SUCCESS')} checks pass and ${count(direct.found, 'FAILURE')} fail without us`);
  const expected = [...direct.found].map(([scenario, checks]) => [scenario, checks.map((check) => {
    const id = better.find((id) => check.startsWith(`${id}: FAILURE`));
    return id ? `${id}: SUCCESS` : check;
  })]);
  assert.deepEqual(Object.fromEntries(proxied.found), Object.fromEntries(expected), 'the same verdicts with and without us');
}

for (const revision of ['2025-11-25', '2026-07-28']) {
  const least = { '2025-11-25': { scenarios: 30, passed: 55 }, '2026-07-28': { scenarios: 45, passed: 120 } }[revision];
  test(`server suite ${revision}: Python SDK`, { timeout: 300_000 }, (t) => {
    if (!havePython()) return missing(t, 'the Python SDK');
    return compare(t, { start: startConformanceServer, revision, ...least });
  });
}

// It leaves itself open to DNS rebinding, and is closed behind us (S23): the one verdict that may be another.
test('server suite 2025-11-25: server-everything', { timeout: 300_000 }, (t) =>
  compare(t, { start: startEverything, revision: '2025-11-25', scenarios: 30, passed: 40, better: ['localhost-host-rebinding-rejected'] }));
