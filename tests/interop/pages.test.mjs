// Every kind of page on every screen, in a real browser: what a machine can see of it is asserted here, and the pictures
// in target/testbed/shots are for a person to look at.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import path from 'node:path';
import { APPROVE, chromeTest, DENY, listener, openPage, SCREENS, SHOTS } from './chrome.mjs';
import { startMock } from './parts/mock.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { plan, startVestibule } from './vestibule.mjs';

const CURSOR = 'cursor://anysphere.cursor-mcp/oauth/callback';
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const ANOTHER = 'button[value="another_account"]';

/** A house with an open server, one that lets nobody in, and logins for devices. */
async function house(t) {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const place = await plan(t);
  const provider = await startMock({ redirectUri: place.callback('idp') });
  t.after(() => provider.stop());
  const server = await startVestibule(t, place, {
    upstream: { idp: provider.upstream },
    settings: { device: { enabled: true, codes_per_minute: 600 } },
    resource: [
      { path: '/mcp', target: echo.url, title: 'Team notes', read_body: '64KiB', mcp_scopes: ['notes.read'], require: [{ methods: ['tools/call'], names: ['write_note'], scopes: ['notes.write'] }] },
      { path: '/board', target: echo.url, title: 'Board papers', allow: { emails: ['nobody@else.example'] } },
    ],
  });
  return { server, provider, desktop: await listener(t) };
}

const json = async (url, body) => (await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })).json();

async function register({ server }, name, redirect) {
  const said = await json(`${server.publicUrl}/register`, {
    client_name: name,
    redirect_uris: redirect ? [redirect] : undefined,
    grant_types: redirect ? ['authorization_code', 'refresh_token'] : [DEVICE_GRANT],
    token_endpoint_auth_method: 'none',
  });
  assert.ok(said.client_id, JSON.stringify(said));
  return said.client_id;
}

/** The address that a client opens in the browser. */
async function login(at, { name = 'Claude Code', redirect = at.desktop.url, resource = '/mcp', scope = 'notes.read', client } = {}) {
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: client ?? await register(at, name, redirect),
    redirect_uri: redirect,
    code_challenge: createHash('sha256').update(randomBytes(16)).digest('base64url'),
    code_challenge_method: 'S256',
    state: 's',
    scope,
    resource: at.server.resource(resource),
  });
  return `${at.server.publicUrl}/authorize?${query}`;
}

async function device(at, resource = '/mcp') {
  const form = new URLSearchParams({ client_id: await register(at, 'Build box'), resource: at.server.resource(resource) });
  return (await fetch(`${at.server.publicUrl}/device_authorization`, { method: 'POST', body: form })).json();
}

/** Presses a button, and waits for the page of ours that comes of it. */
async function press(page, button, where) {
  const answered = page.waitForResponse((response) => response.url().includes(where) && response.status() !== 303 && response.status() !== 302);
  await page.click(button, { noWaitAfter: true });
  const response = await answered;
  // The page before has a heading as well.
  await page.waitForFunction((url) => location.href === url && document.readyState === 'complete', response.url());
  return response;
}

/** Keeps the page that comes of the consent form from opening the app: the browser's own question, whether it may, takes the keyboard. */
async function hold(page) {
  await page.route('**/consent', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.text()).replace(/<meta http-equiv="refresh"[^>]*>/, '') });
  });
}

async function enterCode(at, page, code) {
  await page.goto(`${at.server.publicUrl}/device`);
  await page.fill('#code', code);
  return press(page, 'button.yes', '/device');
}

/** The way back from the provider of a login that somebody began elsewhere, and has not gone. */
async function held(at, url) {
  const asked = await fetch(url, { headers: { accept: 'text/html' } });
  const cookie = asked.headers.getSetCookie().map((one) => one.split(';')[0]).join('; ');
  const sealed = /name="request" value="([^"]+)"/.exec(await asked.text())[1];
  const body = new URLSearchParams({ request: sealed, decision: 'approve' });
  const gone = await fetch(`${at.server.publicUrl}/consent`, { method: 'POST', redirect: 'manual', headers: { cookie }, body });
  return (await fetch(gone.headers.get('location'), { redirect: 'manual' })).headers.get('location');
}

/** How to come to each page; gives the answer that it came with. */
const PAGES = {
  'front-page': { status: 200, open: (at, page) => page.goto(`${at.server.publicUrl}/`) },
  'server-in-a-browser': { status: 200, open: (at, page) => page.goto(at.server.resource()) },
  'consent-first': { status: 200, open: async (at, page) => page.goto(await login(at)) },
  'consent-more': {
    status: 200,
    says: /It asks for more/,
    async open(at, page) {
      const client = await register(at, 'Claude Code', at.desktop.url);
      await page.goto(await login(at, { client }));
      await page.click(APPROVE);
      await page.waitForURL(`${at.desktop.url}?**`);
      return page.goto(await login(at, { client, scope: 'notes.read notes.write' }));
    },
  },
  'consent-private-scheme': { status: 200, open: async (at, page) => page.goto(await login(at, { name: 'Cursor', redirect: CURSOR })) },
  'back-to-the-app': {
    status: 200,
    says: /Done. Back to Cursor/,
    async open(at, page) {
      await page.goto(await login(at, { name: 'Cursor', redirect: CURSOR }));
      await hold(page);
      return press(page, APPROVE, '/consent');
    },
  },
  denied: {
    status: 200,
    says: /Cursor was not connected/,
    async open(at, page) {
      await page.goto(await login(at, { name: 'Cursor', redirect: CURSOR }));
      await hold(page);
      return press(page, DENY, '/consent');
    },
  },
  'device-code': { status: 200, open: (at, page) => page.goto(`${at.server.publicUrl}/device`) },
  'device-code-compare': { status: 200, open: async (at, page) => page.goto((await device(at)).verification_uri_complete) },
  'device-code-wrong': { status: 400, says: /No device shows this code/, open: (at, page) => enterCode(at, page, 'BCDF-GHJK') },
  'device-confirm': { status: 200, says: /in front of you/, open: async (at, page) => enterCode(at, page, (await device(at)).user_code) },
  'device-done': {
    status: 200,
    says: /Done. Go back to your device/,
    async open(at, page) {
      await enterCode(at, page, (await device(at)).user_code);
      return press(page, APPROVE, '/callback/');
    },
  },
  'device-denied': {
    status: 200,
    says: /device was not connected/,
    async open(at, page) {
      await enterCode(at, page, (await device(at)).user_code);
      return press(page, DENY, '/consent');
    },
  },
  'device-wrong-account': {
    status: 403,
    says: /This account may not use Board papers/,
    async open(at, page) {
      await enterCode(at, page, (await device(at, '/board')).user_code);
      return press(page, APPROVE, '/callback/');
    },
  },
  'stale-client': {
    status: 400,
    says: /Remove Dynamic Authentication Providers/,
    open: async (at, page) => page.goto(await login(at, { client: 'vst1.gone', redirect: 'https://vscode.dev/redirect' })),
  },
  'wrong-redirect': {
    status: 400,
    says: /go to the wrong address/,
    open: async (at, page) => page.goto(await login(at, { client: await register(at, 'n8n', 'https://n8n.example/rest/oauth2-credential/callback'), redirect: 'https://oauth.n8n.example/oauth2/callback' })),
  },
  'expired-request': {
    status: 400,
    says: /This login has expired[^]*In Claude Code/,
    async open(at, page) {
      await page.goto(await login(at));
      await page.evaluate(() => { document.querySelector('input[name="request"]').value = 'sealed-with-a-key-of-long-ago'; });
      return press(page, APPROVE, '/consent');
    },
  },
  'used-link': {
    status: 400,
    says: /This login is finished already/,
    async open(at, page) {
      await page.goto(await login(at));
      const back = page.waitForRequest((request) => request.url().includes('/callback/idp'));
      await page.click(APPROVE);
      await page.waitForURL(`${at.desktop.url}?**`);
      return page.goto((await back).url());
    },
  },
  'other-browser': {
    status: 403,
    says: /began in another browser[^]*In Claude Code/,
    open: async (at, page) => page.goto(await held(at, await login(at))),
  },
  'wrong-account': {
    status: 403,
    says: /This account may not use Board papers/,
    async open(at, page) {
      await page.goto(await login(at, { resource: '/board', scope: '' }));
      return press(page, APPROVE, '/callback/');
    },
  },
  'provider-down': {
    status: 503,
    says: /does not answer[^]*In Claude Code/,
    async open(at, page) {
      // Discovery and keys are known by now: it goes down while the person is there.
      const broken = (answer) => Object.assign(answer, { statusCode: 503, body: '' });
      at.provider.service.on('beforeResponse', broken);
      try {
        await page.goto(await login(at));
        return await press(page, APPROVE, '/callback/');
      } finally {
        at.provider.service.off('beforeResponse', broken);
      }
    },
  },
  'provider-failed': {
    status: 502,
    says: /did not come through[^]*In Claude Code/,
    async open(at, page) {
      at.provider.service.once('beforeResponse', (answer) => Object.assign(answer, { statusCode: 400, body: { error: 'invalid_grant' } }));
      await page.goto(await login(at));
      return press(page, APPROVE, '/callback/');
    },
  },
  'not-found': { status: 404, says: /nothing at this address/, open: (at, page) => page.goto(`${at.server.publicUrl}/no/such/page`) },
};
/** Pages for people in trouble carry the name under which the operator finds the request (behaviour 30). */
const IN_TROUBLE = ['stale-client', 'wrong-redirect', 'expired-request', 'used-link', 'other-browser', 'wrong-account', 'device-wrong-account', 'provider-down', 'provider-failed', 'not-found'];

/** Runs in the page: what can be measured there. */
function measured() {
  const channels = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, below) => Object.fromEntries(['r', 'g', 'b'].map((c) => [c, top[c] * top.a + below[c] * (1 - top.a)]).concat([['a', 1]]));
  const backdrop = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(channels(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const faint = [];
  const look = (element, color, words) => {
    const behind = backdrop(element);
    const contrast = ratio(over(channels(color), behind), behind);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${words.trim().slice(0, 40)}`);
  };
  for (const details of document.querySelectorAll('details')) details.open = true;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement: element } = walker.currentNode;
    if (data.trim() && element.checkVisibility() && !element.closest('svg, style')) look(element, getComputedStyle(element).color, data);
  }
  for (const field of document.querySelectorAll('input:not([type=hidden])')) {
    look(field, getComputedStyle(field).color, field.value);
    if (field.placeholder) look(field, getComputedStyle(field, '::placeholder').color, field.placeholder);
  }
  const root = document.documentElement;
  const wide = [...document.querySelectorAll('main *')].filter((one) => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== 'visible').map((one) => one.tagName);
  return {
    faint,
    wide,
    overflow: root.scrollWidth - root.clientWidth,
    headings: document.querySelectorAll('h1').length,
    language: root.lang,
    title: document.title,
    scripts: document.scripts.length,
    nameless: [...document.querySelectorAll('a, button, summary')].filter((one) => !one.textContent.trim()).length
      + [...document.querySelectorAll('input:not([type=hidden])')].filter((one) => one.labels.length === 0).length,
    small: [...document.querySelectorAll('button, a.button, summary, input:not([type=hidden])')].map((one) => one.getBoundingClientRect()).filter((box) => box.height < 40).length,
  };
}

/** Everything that one can go to with the Tab key, and whether one sees where one is. */
async function walked(page) {
  const goals = await page.evaluate(() => {
    document.activeElement?.blur();
    const all = [...document.querySelectorAll('a[href], button, summary, input:not([type=hidden]), [tabindex="0"]')];
    all.forEach((one, n) => { one.dataset.goal = n; });
    return all.length;
  });
  const seen = new Map();
  for (let n = 0; n < goals + 2; n++) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const one = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(one);
      return { goal: one.dataset?.goal, ring: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2, what: one.textContent.trim().slice(0, 30) || one.tagName };
    });
    if (at.goal !== undefined) seen.set(at.goal, at);
  }
  return { unreached: goals - seen.size, ringless: [...seen.values()].filter(({ ring }) => !ring).map(({ what }) => what) };
}

for (const [name, { status, says, open }] of Object.entries(PAGES)) {
  chromeTest(`${name}: whole, readable and reachable on every screen`, async (t) => {
    const at = await house(t);
    for (const [screen, options] of Object.entries(SCREENS)) {
      const where = `${name} on ${screen}`;
      const { page, complaints, visited } = await openPage(t, options);
      const response = await open(at, page);
      assert.equal(response.status(), status, where);
      await page.screenshot({ path: path.join(SHOTS, `page-${name}-${screen}.png`), fullPage: true });
      const text = await page.innerText('body');
      if (says) assert.match(text, says, where);
      if (IN_TROUBLE.includes(name)) assert.ok(text.includes(response.headers()['x-request-id']), `${where} names the request`);
      const { language, title, ...found } = await page.evaluate(measured);
      assert.deepEqual(found, { faint: [], wide: [], overflow: 0, headings: 1, scripts: 0, nameless: 0, small: 0 }, where);
      assert.ok(language === 'en' && title, where);
      assert.deepEqual(await walked(page), { unreached: 0, ringless: [] }, where);
      await page.screenshot({ path: path.join(SHOTS, `page-${name}-${screen}-open.png`), fullPage: true });
      const ours = [at.server.publicUrl, at.provider.issuer, at.desktop.url].map((url) => new URL(url).origin);
      const strange = visited.filter((url) => /^https?:/.test(url) && !ours.includes(new URL(url).origin));
      assert.deepEqual(strange, [], `${where} asks no stranger`);
      // The browser itself notes an answer that is an error, and a private scheme that nothing on this machine opens.
      const noise = /^Failed to (load resource: the server responded|launch 'cursor)/;
      assert.deepEqual(complaints.filter((text) => !noise.test(text)), [], where);
    }
  });
}
