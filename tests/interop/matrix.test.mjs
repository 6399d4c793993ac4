// Each client × each kind of server, and what happens to people in between: a restart, a no, a second login.
//
// The parts are started once for all clients, which play at the same time, each as another person; the wire tells by the
// `sub` of the token which exchange was whose. The table of cells stands in README.md.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from './browser.mjs';
import { CLIENTS, DESCRIBED, KNOWN } from './clients/all.mjs';
import { havePython } from './clients/lines.mjs';
import { freePort, missing, within } from './kit.mjs';
import { startDocuments } from './parts/documents.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startConformanceServer, startEverything, startEverythingSse } from './parts/servers.mjs';
import { plan, startVestibule } from './vestibule.mjs';

/** How many play at once: each is a process or two, on the two cores of a runner. */
const AT_ONCE = 3;

const SERVERS = {
  'server-everything, HTTP': { path: '/mcp', start: startEverything },
  'server-everything, SSE': { path: '/sse', start: startEverythingSse, wire: 'sse' },
  '2026-07-28': { path: '/newest', start: startConformanceServer, isMissing: () => !havePython() },
};

/** A house before some servers; `file` adds to what the operator wrote. */
async function house(t, names, { place, ...file } = {}) {
  place ??= await plan(t);
  const provider = await startOidc({ redirectUri: place.callback('idp'), alwaysRefresh: true });
  t.after(() => provider.stop());
  const resource = await Promise.all(names.map(async (name) => {
    const behind = await SERVERS[name].start();
    t.after(() => behind.stop());
    return { path: SERVERS[name].path, target: behind.url };
  }));
  return startVestibule(t, place, { upstream: { idp: provider.upstream }, resource, ...file });
}

/** One login and one call, which has to be answered. */
async function works(t, client, server, kind, person, memory, stay) {
  const { path, wire } = SERVERS[kind];
  const run = client.use(t, { url: server.resource(path), wire, person, memory, stay });
  const { tools, text } = await within(60_000 + (stay ?? 0) * 1000, `a login of ${client.name}`, run);
  assert.ok(tools.includes('echo'), JSON.stringify(tools));
  assert.match(text, /Echo: h/);
}

/** What one person's client sent with a token, in this house. */
function sentBy(server, user) {
  return server.tap.exchanges.filter(({ headers }) => {
    const claims = /^Bearer [\w-]+\.([\w-]+)\./.exec(headers.authorization ?? '')?.[1];
    return claims && JSON.parse(Buffer.from(claims, 'base64url')).sub.endsWith(`:${user}`);
  });
}

const quiet = (server) => assert.deepEqual(
  server.tap.exchanges.filter(({ status }) => status >= 500).map(({ method, url, status }) => `${method} ${url} ${status}`), [], 'no answer is a 5xx');

/** A user whose name tells whose test it is. */
const user = (client) => client.name.toLowerCase().replace(/\W+/g, '-');

/** One subtest for each client, some at once. Whatever is missing is skipped aloud. */
const each = (t, clients, play) => Promise.all(clients.map((client) => t.test(client.name, { timeout: 120_000 }, async (t) => {
  if (client.missing?.()) return missing(t, client.name);
  return play(t, client);
})));

for (const [kind, { isMissing }] of Object.entries(SERVERS)) {
  test(`each client × oidc-provider × ${kind}`, { timeout: 180_000, concurrency: AT_ONCE }, async (t) => {
    if (isMissing?.()) return missing(t, kind);
    const server = await house(t, [kind]);
    await each(t, CLIENTS.filter(({ hasSse = true }) => hasSse || SERVERS[kind].wire !== 'sse'), async (t, client) => {
      await works(t, client, server, kind, new Browser({ user: user(client) }), {});
      const sent = sentBy(server, user(client));
      if (SERVERS[kind].wire === 'sse') {
        assert.ok(sent.some(({ method, url, responseHeaders }) => method === 'GET' && url === '/sse' && /event-stream/.test(responseHeaders['content-type'])), 'the stream');
        assert.ok(sent.some(({ method, url, status }) => method === 'POST' && url.startsWith('/sse/~endpoint/') && status === 202), 'its endpoint');
      }
      if (kind === '2026-07-28') {
        const calls = sent.filter(({ body }) => /"tools\/call"/.test(body));
        assert.deepEqual([...new Set(calls.map(({ headers }) => headers['mcp-protocol-version']))], [client.newest]);
      }
    });
    quiet(server);
  });
}

/** Walks to the provider's answer, and to the client's, and waits at each for all the others. */
class Halting extends Browser {
  constructor(options, halt) {
    super(options);
    this.halt = halt;
  }
  async walk(start, options) {
    const half = await super.walk(start, { callback: (url) => url.pathname.startsWith('/callback/') });
    if (!half.callback) throw new Error(`the way ended before the provider's answer\n${this.story()}`);
    await this.halt(0);
    const end = await super.walk(half.callback, options);
    await this.halt(1);
    return end;
  }
}

test('a restart while each client is in the middle of its login, at the provider and before its code is redeemed', { timeout: 180_000, concurrency: true }, async (t) => {
  const kind = 'server-everything, HTTP';
  const server = await house(t, [kind], { store: { kind: 'sled' } });
  const clients = CLIENTS.filter(({ missing }) => !missing?.());
  // Whoever fails is not waited for.
  const gone = new Set();
  const halts = [0, 1].map(() => {
    let open;
    return { arrived: new Set(), opened: new Promise((resolve) => (open = resolve)), open: () => open() };
  });
  const look = async ({ arrived, open }) => {
    if (open.called || !clients.every((client) => arrived.has(client) || gone.has(client))) return;
    open.called = true;
    await server.restart();
    open();
  };
  await each(t, CLIENTS, async (t, client) => {
    const person = new Halting({ user: user(client) }, async (n) => {
      halts[n].arrived.add(client);
      look(halts[n]);
      await halts[n].opened;
    });
    try {
      await works(t, client, server, kind, person, {});
    } finally {
      gone.add(client);
      halts.forEach(look);
    }
    assert.equal(server.tap.to('/register').filter(({ status }) => status >= 400).length, 0);
  });
  assert.ok(halts.every(({ arrived }) => arrived.size === clients.length), 'all of them met both restarts');
});

test('a person who says no: each client ends with an error, and logs in at the next yes', { timeout: 180_000, concurrency: AT_ONCE }, async (t) => {
  const kind = 'server-everything, HTTP';
  const server = await house(t, [kind]);
  await each(t, CLIENTS, async (t, client) => {
    const memory = {};
    const no = client.use(t, { url: server.resource(), person: new Browser({ user: user(client), answer: 'no' }), memory });
    const error = await within(40_000, `the end of ${client.name}`, no).then(() => null, (error) => error);
    assert.ok(error, 'a client that was refused did not say so');
    assert.doesNotMatch(error.message, /took longer|timed out/i, 'it ends by itself');
    assert.match(error.message, /access_denied|denied|refused/i);
    assert.equal(sentBy(server, user(client)).length, 0);
    await works(t, client, server, kind, new Browser({ user: user(client) }), memory);
  });
  quiet(server);
});

test('a second login after a restart: each client comes with its old registration, and asks again where it must', { timeout: 180_000, concurrency: AT_ONCE }, async (t) => {
  const kind = 'server-everything, HTTP';
  const server = await house(t, [kind], { store: { kind: 'sled' } });
  const people = new Map(CLIENTS.map((client) => [client, { person: new Browser({ user: user(client) }), memory: {} }]));
  const asked = ({ history }) => history.filter(({ method, url }) => method === 'POST' && new URL(url).pathname === '/consent').length;
  await t.test('first', { concurrency: AT_ONCE, timeout: 150_000 }, (t) => each(t, CLIENTS, async (t, client) => {
    const { person, memory } = people.get(client);
    memory.dir = server.dir; // outlives this subtest
    // A yes to what anybody on the machine could listen for is not remembered (CON-8), a yes to a site is.
    if (client.isHosted) memory.redirect = `https://${user(client)}.example.com/callback`;
    await works(t, client, server, kind, person, memory);
    assert.equal(asked(person), 1);
  }));
  await server.restart();
  await t.test('second', { concurrency: AT_ONCE, timeout: 150_000 }, (t) => each(t, CLIENTS, async (t, client) => {
    const { person, memory } = people.get(client);
    const registrations = () => server.tap.to('/register').filter(({ body }) => body.includes(memory.redirect ?? `:${memory.port}/`));
    const [{ responseBody }] = registrations();
    memory.id = JSON.parse(responseBody).client_id;
    await works(t, client, server, kind, person, memory);
    assert.equal(registrations().length, 1, 'it did not register again');
    const wishes = person.history.some(({ url }) => /\/authorize\?.*prompt=consent/.test(url));
    assert.equal(asked(person), client.isHosted && !wishes ? 1 : 2, 'consent');
    assert.equal(server.tap.to('/token').filter(({ body }) => body.includes('authorization_code') && new URLSearchParams(body).get('client_id') === memory.id).length, 2);
  }));
  quiet(server);
});

/** Clients that never register, with tokens of five seconds: how they come, and that they stay. */
async function unregistered(t, clients, server, idOf, memoryOf) {
  const kind = 'server-everything, HTTP';
  await each(t, clients, async (t, client) => {
    const memory = memoryOf(client);
    await works(t, client, server, kind, new Browser({ user: user(client) }), memory, 8);
    const asks = server.tap.to('/token').filter(({ body }) => new URLSearchParams(body).get('client_id') === idOf(memory));
    const grants = asks.map(({ body, status }) => `${new URLSearchParams(body).get('grant_type')} ${status}`);
    assert.equal(grants[0], 'authorization_code 200');
    assert.deepEqual([...new Set(grants.slice(1))], ['refresh_token 200'], 'logged in once, and refreshed');
  });
  assert.deepEqual(server.tap.to('/register'), [], 'nobody registered');
  quiet(server);
}

test('clients that the file knows', { timeout: 120_000, concurrency: AT_ONCE }, async (t) => {
  const ports = new Map();
  for (const client of KNOWN) ports.set(client, await freePort());
  const server = await house(t, ['server-everything, HTTP'], {
    settings: {
      tokens: { access_life: '5s' },
      client: KNOWN.map((client) => ({ id: user(client), name: client.name, redirect_uris: [`http://localhost:${ports.get(client)}/oauth/callback`] })),
    },
  });
  await unregistered(t, KNOWN, server, ({ id }) => id, (client) => ({ id: user(client), port: ports.get(client) }));
});

test('clients that a document describes', { timeout: 120_000, concurrency: AT_ONCE }, async (t) => {
  if (!havePython()) return missing(t, 'the maker of certificates');
  const documents = await startDocuments(t);
  const server = await house(t, ['server-everything, HTTP'], {
    settings: { extra_ca: documents.authority, cimd: { advertise: 'on' }, tokens: { access_life: '5s' } },
  });
  const memories = new Map();
  for (const client of DESCRIBED) {
    const port = await freePort();
    const redirect = `http://127.0.0.1:${port}/callback`;
    const document = documents.describe(client.name, [redirect, `http://localhost:${port}/oauth/callback`]);
    memories.set(client, { port, redirect, document });
  }
  await unregistered(t, DESCRIBED, server, ({ document }) => document, (client) => memories.get(client));
  for (const { document } of memories.values()) {
    assert.equal(documents.fetched.filter((at) => document.endsWith(at)).length, 1, 'fetched once');
  }
});
