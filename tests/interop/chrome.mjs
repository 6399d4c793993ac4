// Chromium for the suites: pages that report what a person would only see in the console.
import http from 'node:http';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { artifacts, freePort, missing, present } from './kit.mjs';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const SHOTS = artifacts('shots');
export const APPROVE = 'button[name="decision"][value="approve"]';
export const DENY = 'button[name="decision"][value="deny"]';
let chrome;

before(async () => {
  if (!present(EXECUTABLE)) return;
  chrome = await chromium.launch({
    executablePath: EXECUTABLE,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});
after(() => chrome?.close());

export const chromeTest = (name, body) => test(name, { timeout: 90_000 }, (t) => (chrome ? body(t) : missing(t, 'Chromium')));

/** A page that reports what a person would only see in the console, and every place the browser tried to go. */
export async function openPage(t, options = {}) {
  const context = await chrome.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  const complaints = [];
  const visited = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.addInitScript(() => addEventListener('securitypolicyviolation', (event) => console.error(`CSP ${event.violatedDirective} ${event.blockedURI}`)));
  page.on('response', (response) => {
    const { location } = response.headers();
    if (location) visited.push(new URL(location, response.url()).href);
  });
  const session = await context.newCDPSession(page);
  await session.send('Network.enable');
  session.on('Network.requestWillBeSent', ({ request }) => visited.push(request.url));
  // A private scheme never becomes a request: the attempt to go there is all there is to see.
  await session.send('Page.enable');
  session.on('Page.frameRequestedNavigation', ({ url }) => visited.push(url));
  return { page, complaints, visited };
}

/** A desktop application's own little listener. */
export async function listener(t) {
  const port = await freePort();
  const got = [];
  const server = http.createServer((request, response) => {
    const url = new URL(request.url, `http://127.0.0.1:${port}`);
    if (url.pathname === '/callback') got.push(url);
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<title>Done</title><h1>You may close this window.</h1>');
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${port}/callback`, got };
}

export const blocked = (complaints) => complaints.filter((text) => /Content Security Policy|CSP|violat|Refused/i.test(text));

/** The screens that every page is looked at on. */
export const SCREENS = {
  desktop: {},
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  dark: { colorScheme: 'dark' },
};
