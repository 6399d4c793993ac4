// Logins that last, for clients as they are: access tokens of five seconds, provider tokens of ten that rotate, and two
// minutes of calls. Nobody is sent to log in again, and no call fails (behaviours 22 and 23).
//
// All clients run at the same time, against one server, so that the two minutes are spent once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import { havePython, haveRmcp, python, rmcp } from './clients/lines.mjs';
import * as remote from './clients/mcp-remote.mjs';
import * as ts from './clients/typescript.mjs';
import { missing, sleep, within } from './kit.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEverything } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

const SECONDS = Number(process.env.INTEROP_REFRESH_SECONDS ?? 120);
const LIFE = 5;
const UPSTREAM_LIFE = 10;

/**
 * Calls `echo` once a second (or as given) for two minutes; every answer has to come, and to be the right one. Errors of
 * the client's own making that `excuse` matches are only counted.
 */
async function goOn(client, name, { pause = 1000, excuse } = {}) {
  const end = Date.now() + SECONDS * 1000;
  let calls = 0;
  let excused = 0;
  while (Date.now() < end) {
    const message = `${name} ${calls}`;
    try {
      assert.match(ts.textOf(await within(15_000, message, client.callTool({ name: 'echo', arguments: { message } }))), new RegExp(message));
      calls++;
    } catch (error) {
      if (!excuse?.test(error.message)) throw error;
      assert.ok(++excused < 5, error.message);
    }
    await sleep(pause);
  }
  return { calls, excused };
}

/** A house before `target`, and what its clients are held to. */
async function house(t, target, life, upstreamLife) {
  const s = await scene(t, {
    provider: (options) => startOidc({ ...options, accessTokenLife: upstreamLife, alwaysRefresh: true }),
    target,
    settings: { tokens: { access_life: `${life}s` } },
  });
  const url = s.server.resource();
  const asks = (grant) => s.server.tap.to('/token').filter(({ body }) => body.includes(`grant_type=${grant}`));

  /** What one client did on the wire, told by its id. */
  function held(t, name, clientId, calls, copies = 1) {
    const mine = asks('refresh_token').filter(({ body }) => new URLSearchParams(body).get('client_id') === clientId);
    const refused = s.server.tap.to('/mcp').filter(({ status, headers }) => status === 401 && headers.authorization).length;
    t.diagnostic(`${name}: ${calls} calls, ${mine.length} refreshes; 401 with a token, all clients together: ${refused}`);
    assert.deepEqual(mine.filter(({ status }) => status !== 200).map(({ responseBody }) => responseBody), [], 'no refresh is refused');
    assert.ok(mine.length >= (copies * SECONDS) / LIFE / 2, `${mine.length} refreshes in ${SECONDS} s`);
    assert.ok(calls >= SECONDS / 5, `${calls} calls in ${SECONDS} s`);
    const codes = asks('authorization_code').filter(({ body }) => new URLSearchParams(body).get('client_id') === clientId);
    assert.equal(codes.length, 1, 'logged in once, and never again');
  }
  /** The id of the client whose registration bears this name. */
  const idOf = (pattern) => {
    const registrations = s.server.tap.to('/register').filter(({ body }) => pattern.test(body));
    const ids = new Set(registrations.map(({ responseBody }) => JSON.parse(responseBody).client_id));
    assert.equal(ids.size, 1, `one id for ${pattern}, however often it registers`);
    return [...ids][0];
  };
  return { s, url, held, idOf };
}

test('access tokens of five seconds, for two minutes', { timeout: (SECONDS + 55) * 1000, concurrency: true }, async (t) => {
  const everything = await startEverything();
  t.after(() => everything.stop());
  const { s, url, held, idOf } = await house(t, everything.url, LIFE, UPSTREAM_LIFE);

  await Promise.all([
    t.test('TypeScript SDK', async (t) => {
      const { client, keeper } = await ts.login(url, new Browser({ user: 'ann' }), { keeper: await ts.wallet({ clientName: 'Alone' }) });
      t.after(() => client.close());
      const { calls } = await goOn(client, 'typescript');
      held(t, 'TypeScript SDK', keeper.information.client_id, calls);
    }),

    t.test('TypeScript SDK, two copies that hold one refresh token', async (t) => {
      const { client, keeper } = await ts.login(url, new Browser({ user: 'bob' }), { keeper: await ts.wallet({ clientName: 'Twin' }) });
      t.after(() => client.close());
      // What a second process finds when it starts from the same file; from now on each keeps its own.
      const twin = await ts.wallet({ redirectUrl: keeper.redirectUrl, information: keeper.information });
      twin.saveTokens(keeper.tokens());
      const { client: other } = await ts.connect(url, twin);
      t.after(() => other.close());
      const [one, two] = await Promise.all([goOn(client, 'first copy'), goOn(other, 'second copy')]);
      held(t, 'two copies, TypeScript SDK', keeper.information.client_id, one.calls + two.calls, 2);
    }),

    t.test('TypeScript SDK 2', async (t) => {
      const keeper = await ts.wallet({ clientName: 'Newer' });
      const { client } = await ts.login(url, new Browser({ user: 'fay' }), { keeper, sdk: ts.TWO });
      t.after(() => client.close());
      const { calls } = await goOn(client, 'newer typescript');
      held(t, 'TypeScript SDK 2', keeper.information.client_id, calls);
    }),

    t.test('Python SDK', async (t) => {
      if (!havePython()) return missing(t, 'the Python SDK');
      const { result } = await python(url, new Browser({ user: 'cat' }), { seconds: SECONDS });
      assert.ok(result.calls, JSON.stringify(result));
      held(t, 'Python SDK', idOf(/Interop Python/), result.calls);
    }),

    t.test('Python SDK 1', async (t) => {
      if (!havePython(1)) return missing(t, 'the Python SDK of the older era');
      const { result } = await python(url, new Browser({ user: 'gus' }), { seconds: SECONDS, era: 1 });
      assert.ok(result.calls, JSON.stringify(result));
      held(t, 'Python SDK 1', idOf(/Interop older Python/), result.calls);
    }),

    t.test('rmcp', async (t) => {
      if (!haveRmcp()) return missing(t, 'the rmcp client (RMCP_CLIENT)');
      const { result } = await rmcp(url, new Browser({ user: 'dan' }), { seconds: SECONDS });
      assert.ok(result.calls, JSON.stringify(result));
      held(t, 'rmcp', idOf(/rmcp example/), result.calls);
    }),

    t.test('mcp-remote, twice over one folder of tokens', async (t) => {
      // It refreshes a minute ahead, so before each of its requests, whether a token lives five seconds or a minute. Tokens
      // that are dead by the next request make it refresh twice at once as well; then it stumbles over its own temporary
      // file, or brakes itself at twenty refreshes in 30 s. So its tokens live a minute, in a house of its own.
      const { url, held, idOf } = await house(t, everything.url, 60, 90);
      const first = await remote.login(t, url, new Browser({ user: 'eve' }));
      const second = await remote.login(t, url, new Browser({ user: 'eve' }), first.home);
      const slowly = { pause: 4000, excuse: /ENOENT.*_tokens\.json/ };
      const [one, two] = await Promise.all([goOn(first.client, 'first bridge', slowly), goOn(second.client, 'second bridge', slowly)]);
      t.diagnostic(`mcp-remote stumbled over its own file ${one.excused + two.excused} times`);
      assert.equal(first.opened.length + second.opened.length, 1, `one login for both\n${first.log()}\n${second.log()}`);
      held(t, 'mcp-remote, twice', idOf(/MCP CLI Proxy|mcp-remote/), one.calls + two.calls);
    }),
  ]);

  const renewals = s.provider.tap.to('/token').filter(({ body }) => body.includes('grant_type=refresh_token'));
  t.diagnostic(`${renewals.length} renewals at the provider`);
  assert.ok(renewals.length >= SECONDS / UPSTREAM_LIFE, 'the provider was asked for new tokens');
  assert.deepEqual(renewals.filter(({ status }) => status !== 200).map(({ responseBody }) => responseBody), [], 'and refused none');
  const spent = renewals.map(({ body }) => new URLSearchParams(body).get('refresh_token'));
  assert.equal(new Set(spent).size, spent.length, 'no refresh token of the provider was spent twice (UP-9)');
});
