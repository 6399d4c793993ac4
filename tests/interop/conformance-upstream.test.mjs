// The official conformance suite as the provider: it plays an authorization server, also a lying one, and judges how
// vestibule behaves as its client (protocol §4.5). Only scenarios that are about that; the others judge an MCP client.
//
// Where the server lies the login must fail, and the suite then says that we passed. The verdict is read from its checks.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Child, HERE, MODULES, scratch, within } from './kit.mjs';

const SUITE = path.join(MODULES, '@modelcontextprotocol/conformance/dist/index.js');
const DRIVER = path.join(HERE, 'parts/upstream_driver.mjs');

/** Scenario → revision, how the login ends, and the check that is its point. */
const SCENARIOS = [
  ['auth/iss-supported', '2026-07-28', 'logged in', /compare-iss-supported/],
  ['auth/iss-not-advertised', '2026-07-28', 'logged in', /proceed-no-iss/],
  ['auth/iss-supported-missing', '2026-07-28', 'refused', /reject-missing-iss/],
  ['auth/iss-wrong-issuer', '2026-07-28', 'refused', /compare-iss-supported/],
  ['auth/iss-unexpected', '2026-07-28', 'refused', /compare-iss-unadvertised/],
  ['auth/iss-normalized', '2026-07-28', 'refused', /no-normalization/],
  ['auth/metadata-issuer-mismatch', '2026-07-28', 'refused', /validate-metadata-issuer/],
  ['auth/pre-registration', '2025-11-25', 'logged in, and called', /pre-registration-auth/],
];

for (const [scenario, revision, ends, point] of SCENARIOS) {
  test(`upstream: ${scenario} (${revision})`, { timeout: 120_000 }, async (t) => {
    const out = scratch(t, 'conformance-upstream-');
    const child = new Child(process.execPath, [
      SUITE, 'client', '--command', `${process.execPath} ${DRIVER}`, '--scenario', scenario, '--spec-version', revision, '--timeout', '90000', '--verbose', '-o', out,
    ], { name: 'conformance' });
    t.after(() => child.ended ?? child.stop('SIGKILL'));
    await within(110_000, 'the suite', child.exited);
    const file = readdirSync(out, { recursive: true }).find((name) => path.basename(name) === 'checks.json');
    assert.ok(file, child.output);
    const checks = JSON.parse(readFileSync(path.join(out, file), 'utf8')).filter(({ status }) => status !== 'INFO');
    const said = checks.map(({ id, status, errorMessage }) => `${id}: ${status} ${errorMessage ?? ''}`).join('\n');
    assert.deepEqual(checks.filter(({ status }) => status !== 'SUCCESS'), [], `${said}\n${child.output}`);
    assert.ok(checks.some(({ id }) => point.test(id)), `the scenario judged what it is about\n${said}`);
    const told = readdirSync(out, { recursive: true }).filter((name) => path.basename(name) === 'stdout.txt').map((name) => readFileSync(path.join(out, name), 'utf8')).join('') || child.output;
    assert.match(told, new RegExp(`^${ends}`, 'm'), `the login was to end so\n${told}`);
  });
}
