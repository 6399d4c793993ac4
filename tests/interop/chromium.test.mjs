// A real browser on the real pages: what a script cannot see, such as a policy that blocks the way back, or a page that
// does not fit a phone. Pictures go to target/testbed/shots.
import assert from 'node:assert/strict';
import path from 'node:path';
import { APPROVE, blocked, chromeTest, DENY, listener, openPage, SCREENS, SHOTS } from './chrome.mjs';
import * as ts from './clients/typescript.mjs';
import { until } from './kit.mjs';
import { startMock } from './parts/mock.mjs';
import { startOidc } from './parts/oidc.mjs';
import { startEchoHeaders } from './parts/servers.mjs';
import { scene } from './vestibule.mjs';

async function play(t, provider) {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  return scene(t, { provider, target: echo.url });
}

async function consentFor(server, redirectUrl) {
  const keeper = await ts.wallet({ redirectUrl, clientName: 'Interop Desktop' });
  const { transport } = await ts.begin(server.resource(), keeper);
  return { keeper, transport };
}

/** Presses a button on the consent page and gives back the answer that the browser carries to the client. */
async function press(server, keeper, redirect, button, t) {
  const { page, complaints, visited } = await openPage(t);
  await page.goto(String(keeper.authorizeUrl));
  await page.click(button, { noWaitAfter: true });
  const isThere = (url) => url.startsWith(`${redirect}?`);
  const arrived = await until('the browser to go to the client', () => visited.find(isThere) ?? (blocked(complaints).length > 0 && 'blocked')).catch(() => null);
  await page.screenshot({ path: path.join(SHOTS, `after-${/value="(\w+)"/.exec(button)[1]}-${new URL(redirect).protocol.slice(0, -1)}.png`) }).catch(() => {});
  assert.deepEqual(blocked(complaints), [], 'nothing is blocked');
  assert.ok(arrived, `the browser was to go to ${redirect}; it went to\n${visited.join('\n')}\n${complaints.join('\n')}`);
  const query = new URL(arrived).searchParams;
  assert.equal(query.get('state'), keeper.sentState);
  assert.equal(query.get('iss'), server.publicUrl);
  return query;
}

chromeTest('consent and login, to a loopback redirect', async (t) => {
  const { server } = await play(t, startOidc);
  const desktop = await listener(t);
  const { keeper, transport } = await consentFor(server, desktop.url);
  const { page, complaints } = await openPage(t);

  const first = await page.goto(String(keeper.authorizeUrl));
  assert.equal(first.status(), 200);
  await page.screenshot({ path: path.join(SHOTS, 'consent-desktop.png'), fullPage: true });
  const text = await page.innerText('body');
  assert.match(text, /Interop Desktop/, 'the page names the client');
  assert.match(text, /127\.0\.0\.1/, 'and where the code goes (CON-3)');
  assert.equal(await page.locator('script').count(), 0, 'no script');
  await page.click(APPROVE);

  await page.waitForURL((url) => url.hostname === 'localhost');
  await page.fill('input[name="login"]', 'alice');
  await page.fill('input[name="password"]', 'anything');
  await page.click('button[type="submit"]');
  await page.waitForSelector('input[name="prompt"][value="consent"]', { state: 'attached' });
  await page.click('button[type="submit"]');
  await until('the callback', () => desktop.got.length);
  await page.waitForLoadState();

  const query = desktop.got[0].searchParams;
  assert.equal(query.get('state'), keeper.sentState);
  assert.equal(query.get('iss'), server.publicUrl);
  await transport.finishAuth(query.get('code'));
  const { client } = await ts.connect(server.resource(), keeper);
  t.after(() => client.close());
  assert.ok((await client.listTools()).tools.length > 0);
  assert.deepEqual(blocked(complaints), []);
});

for (const [name, redirect] of [
  ['a private scheme', async () => 'cursor://anysphere.cursor-mcp/oauth/callback'],
  ['loopback', async (t) => (await listener(t)).url],
]) {
  // A provider with a session answers without a page: then consent, provider, callback and client are one chain of
  // redirects that began with our form, and a `form-action` would cut it (CON-10).
  chromeTest(`one chain of redirects from the consent form to ${name}`, async (t) => {
    const { server } = await play(t, startMock);
    const to = await redirect(t);
    const { keeper, transport } = await consentFor(server, to);
    const query = await press(server, keeper, to, APPROVE, t);
    await transport.finishAuth(query.get('code'));
    assert.ok(keeper.issued.access_token, 'and the code is good');
  });

  chromeTest(`saying no leads to ${name} as well`, async (t) => {
    const { server } = await play(t, startMock);
    const to = await redirect(t);
    const { keeper } = await consentFor(server, to);
    const query = await press(server, keeper, to, DENY, t);
    assert.equal(query.get('error'), 'access_denied');
  });
}

chromeTest('the consent page fits a phone, and has a dark face', async (t) => {
  const { server } = await play(t, startMock);
  const { keeper } = await consentFor(server, 'http://127.0.0.1/callback');
  const look = async (name, options) => {
    const { page, complaints } = await openPage(t, options);
    await page.goto(String(keeper.authorizeUrl));
    await page.screenshot({ path: path.join(SHOTS, `${name}.png`), fullPage: true });
    assert.deepEqual(complaints, [], name);
    for (const button of [APPROVE, DENY]) assert.ok(await page.locator(button).isVisible(), `${name}: ${button}`);
    return page.evaluate(() => {
      const button = document.querySelector('button[value="approve"]').getBoundingClientRect();
      return {
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        background: getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor,
        buttonHeight: button.height,
        language: document.documentElement.lang,
        title: document.title,
      };
    });
  };
  const light = await look('consent-light', { colorScheme: 'light' });
  const phone = await look('consent-phone', { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  const dark = await look('consent-dark', { colorScheme: 'dark' });
  await look('consent-phone-dark', { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: 'dark' });
  assert.equal(phone.overflow, 0, 'nothing to scroll sideways');
  assert.ok(phone.buttonHeight >= 36, `a thumb hits the button: ${phone.buttonHeight}`);
  assert.notEqual(dark.background, light.background, 'dark is dark');
  assert.ok(light.language && light.title);
});

// Pages for people in trouble: whatever went wrong, there is a way on, and it fits the screen.
async function trouble(t, name, open) {
  for (const [screen, options] of Object.entries(SCREENS)) {
    const { page, complaints } = await openPage(t, options);
    const response = await open(page);
    await page.screenshot({ path: path.join(SHOTS, `trouble-${name}-${screen}.png`), fullPage: true });
    const text = await page.innerText('body');
    assert.match(text, /What to do next/, name);
    assert.ok(text.includes(response.headers()['x-request-id']), `${name} names the request (behaviour 30)`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0, `${name} on ${screen}`);
    assert.deepEqual(blocked(complaints), [], name);
  }
}

chromeTest('a stale client is shown the steps of its own app', async (t) => {
  const { server } = await play(t, startMock);
  const query = new URLSearchParams({ client_id: 'vst1.gone', redirect_uri: 'https://vscode.dev/redirect', response_type: 'code' });
  await trouble(t, 'stale-client', async (page) => {
    const response = await page.goto(`${server.publicUrl}/authorize?${query}`);
    assert.equal(response.status(), 400);
    assert.match(await page.innerText('details[open]'), /Remove Dynamic Authentication Providers/);
    return response;
  });
});

chromeTest('a wrong account may be changed for another', async (t) => {
  const echo = await startEchoHeaders();
  t.after(() => echo.stop());
  const { server, provider } = await scene(t, { provider: startMock, target: echo.url, resource: { allow: { emails: ['nobody@else.example'] } } });
  const desktop = await listener(t);
  await trouble(t, 'wrong-account', async (page) => {
    const { keeper } = await consentFor(server, desktop.url);
    await page.goto(String(keeper.authorizeUrl));
    const answered = page.waitForResponse((response) => response.url().includes('/callback/'));
    await page.click(APPROVE, { noWaitAfter: true });
    const response = await answered;
    await page.waitForSelector('h1');
    assert.equal(response.status(), 403);
    return response;
  });
  const { keeper } = await consentFor(server, desktop.url);
  const { page, visited } = await openPage(t);
  await page.goto(String(keeper.authorizeUrl));
  await page.click(APPROVE);
  await page.click('button[value="another_account"]');
  await page.waitForSelector('button[value="another_account"]');
  assert.ok(visited.some((url) => /[?&]prompt=login/.test(url)), visited.join('\n'));
  await page.click('a.button');
  await until('the client to be told', () => desktop.got.length);
  assert.equal(desktop.got[0].searchParams.get('error'), 'access_denied');
  assert.ok(provider);
});

chromeTest('a hostile client name stays text', async (t) => {
  const { server } = await play(t, startMock);
  const keeper = await ts.wallet({ clientName: '<img src=x onerror=alert(1)><b>Bank</b>', redirectUrl: 'http://127.0.0.1/callback' });
  await ts.begin(server.resource(), keeper);
  const { page } = await openPage(t);
  await page.goto(String(keeper.authorizeUrl));
  assert.equal(await page.locator('img[src="x"]').count(), 0);
  assert.match(await page.innerText('body'), /<b>Bank<\/b>/);
});

chromeTest('the error page says what happened and what to do', async (t) => {
  const { server } = await play(t, startMock);
  for (const [name, options] of [['error-desktop', {}], ['error-phone-dark', { viewport: { width: 390, height: 844 }, isMobile: true, colorScheme: 'dark' }]]) {
    const { page } = await openPage(t, options);
    const answer = await page.goto(`${server.publicUrl}/authorize?response_type=code&client_id=forgotten&redirect_uri=${encodeURIComponent('cursor://x/y')}&state=s&code_challenge=${'a'.repeat(43)}&code_challenge_method=S256`);
    await page.screenshot({ path: path.join(SHOTS, `${name}.png`), fullPage: true });
    assert.equal(answer.status(), 400);
    assert.equal(await page.locator('script').count(), 0);
    assert.ok((await page.innerText('body')).length > 40, 'more than a code');
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0);
  }
});
