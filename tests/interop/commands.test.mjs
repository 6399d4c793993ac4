// The commands people type first, as the README says them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Child, scratch, within } from './kit.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { BINARY, scene } from './vestibule.mjs';

async function run(t, args, { env, ms = 60_000 } = {}) {
  const child = new Child(BINARY, args, { env, cwd: scratch(t), name: `vestibule ${args[0]}` });
  t.after(() => child.ended ?? child.stop('SIGKILL'));
  const { code } = await within(ms, `vestibule ${args.join(' ')}`, child.exited).catch((error) => {
    throw new Error(`${error.message}\n${child.output}`);
  });
  return { code, ...child, output: child.output };
}

test('dev --once walks a whole login by itself and ends with success', { timeout: 90_000 }, async (t) => {
  const { code, output } = await run(t, ['dev', '--once'], { env: { HOME: scratch(t, 'home-') } });
  assert.equal(code, 0, output);
  assert.doesNotMatch(output, /panicked at/);
});

test('secret new makes a key that serve accepts', { timeout: 30_000 }, async (t) => {
  const { code, stdout } = await run(t, ['secret', 'new']);
  assert.equal(code, 0);
  assert.equal(Buffer.from(stdout.trim(), 'base64').length, 32, stdout);
});

test('check finds a good file good, asks the provider, and shows no secret', { timeout: 60_000 }, async (t) => {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const { server, provider } = await scene(t, { provider: startOidc, target: echo.url });
  const before = provider.tap.to('/.well-known/').length;
  const { code, output } = await run(t, ['check', '--config', server.file]);
  assert.equal(code, 0, output);
  assert.ok(provider.tap.to('/.well-known/').length > before, 'it asked the provider');
  assert.ok(!output.includes(provider.clientSecret), 'the secret is masked');
  assert.ok(output.includes(provider.clientId) && output.includes(server.publicUrl), 'what it resolved is shown');
});
