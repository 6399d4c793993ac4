// A person with a browser, without the browser: follows redirects, keeps cookies, fills in forms, presses buttons.
//
// It sends what Chrome sends on a navigation (Sec-Fetch-*, Origin, SameSite cookies), because servers decide by these.
import http from 'node:http';

const YES = /approv|allow|authori[sz]e|accept|continue|yes|confirm|sign.?in|log.?in|next/i;
const NO = /den(y|ied)|cancel|reject|refuse|decline|abort|\bno\b/i;

export class Browser {
  /**
   * @param {{ user?: string, answer?: 'yes' | 'no', abortAt?: (url: URL) => boolean }} options
   *   `answer` is what it presses on a page that asks; on pages where `abortAt` holds it follows the cancel link instead.
   */
  constructor({ user = 'alice', answer = 'yes', abortAt = () => false } = {}) {
    Object.assign(this, { user, answer, abortAt });
    this.cookies = new Map(); // by host name: cookies ignore ports
    this.history = [];
  }

  /** One navigation step, no redirect followed. */
  async request(url, { method = 'GET', body, initiator = null, site = 'none', origin, headers = {} } = {}) {
    const cookie = this.#cookiesFor(url, { method, site });
    const sent = {
      'user-agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36',
      accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
      'accept-language': 'en-GB,en;q=0.9',
      'upgrade-insecure-requests': '1',
      'sec-fetch-site': site,
      'sec-fetch-mode': 'navigate',
      'sec-fetch-user': '?1',
      'sec-fetch-dest': 'document',
      ...(cookie && { cookie }),
      ...(method !== 'GET' && { origin: origin ?? (initiator ? initiator.origin : 'null') }),
      ...(body !== undefined && { 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(Buffer.byteLength(body)) }),
      ...headers,
    };
    const response = await new Promise((resolve, reject) => {
      const request = http.request(url, { method, headers: sent, agent: false, timeout: 20_000 }, (answer) => {
        const chunks = [];
        answer.on('data', (chunk) => chunks.push(chunk));
        answer.on('end', () => resolve({ url, status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks).toString('utf8') }));
        answer.on('error', reject);
      });
      request.on('timeout', () => request.destroy(new Error(`no answer from ${url}`)));
      request.on('error', reject);
      request.end(body);
    });
    this.#keepCookies(url, response.headers['set-cookie'] ?? []);
    this.history.push({ method, url: url.href, status: response.status, location: response.headers.location });
    return response;
  }

  /**
   * Opens `start` and does what the pages ask until the way leads to `callback`, or ends at a page without a form.
   * @returns {Promise<{ callback?: URL, page?: object }>}
   */
  async walk(start, { callback, maxSteps = 40 } = {}) {
    const arrived = typeof callback === 'function' ? callback : (url) => callback && url.href.split(/[?#]/)[0] === String(callback).split(/[?#]/)[0];
    let step = { url: new URL(start), options: { site: 'none' } };
    let chain = null; // the page that began this chain of redirects, null when a person typed the address
    for (let n = 0; n < maxSteps; n++) {
      if (arrived(step.url)) return { callback: step.url };
      if (step.url.protocol !== 'http:') throw new Error(`the way leads to ${step.url}, which this browser cannot open`);
      const response = await this.request(step.url, step.options);
      if ([301, 302, 303, 307, 308].includes(response.status) && response.headers.location) {
        const to = new URL(response.headers.location, step.url);
        const keepsMethod = response.status >= 307;
        const site = chain ? worst(step.options.site, relation(chain, to)) : 'none';
        step = { url: to, options: { site, ...(keepsMethod && { method: step.options.method, body: step.options.body, initiator: chain }) } };
        continue;
      }
      const next = this.#act(response);
      if (!next) return { page: response };
      chain = step.url;
      next.options.site = relation(chain, next.url);
      next.options.initiator = chain;
      if (/no-referrer/.test(response.headers['referrer-policy'] ?? '')) next.options.origin = 'null'; // as Fetch says
      step = next;
    }
    throw new Error(`no end after ${maxSteps} steps:\n${this.story()}`);
  }

  /** Walks, and hands the answer to the client's own listener, as a browser would, but not before that is `ready` for it. */
  async deliver(start, callback, ready = () => {}) {
    const end = await this.walk(start, { callback });
    if (!end.callback) return end;
    await ready(end.callback);
    await this.request(end.callback, { site: 'cross-site' });
    return end;
  }

  story() {
    return this.history.map((h) => `${h.method} ${h.url} → ${h.status}${h.location ? ` → ${h.location}` : ''}`).join('\n');
  }

  #act(response) {
    if (!/html/.test(response.headers['content-type'] ?? '')) return null;
    if (response.status === 403) return null; // turned away: what now is for a person to decide
    if (this.abortAt(response.url)) {
      const links = [...response.body.matchAll(/<a\b([^>]*)>([\s\S]*?)<\/a>/gi)].map(([, attributes, text]) => ({ href: attribute(attributes, 'href'), text }));
      const link = links.find(({ href, text }) => href && (NO.test(text) || NO.test(href)));
      if (link) return { url: new URL(link.href, response.url), options: {} };
    }
    const choices = forms(response.body).flatMap((form) => form.buttons.map((button) => ({ form, button })));
    if (choices.length === 0) {
      const refresh = /<meta\b[^>]*http-equiv\s*=\s*["']?refresh[^>]*>/i.exec(response.body);
      const to = refresh && /url\s*=\s*['"]?([^'"]+)/i.exec(attribute(refresh[0].slice(5), 'content') ?? '')?.[1];
      return to ? { url: new URL(to, response.url), options: {} } : null;
    }
    const wanted = this.answer === 'yes' ? [YES, NO] : [NO, YES];
    const score = ({ button }) => {
      const said = `${button.name} ${button.value} ${button.text}`;
      const mine = said.includes(this.user) ? 1 : 0; // a page that lets one choose an account
      return mine + (wanted[0].test(said) ? 1 : 0) - (wanted[1].test(said) ? 2 : 0);
    };
    const { form, button } = choices.reduce((best, one) => (score(one) > score(best) ? one : best));
    const data = new URLSearchParams();
    for (const field of form.fields) data.append(field.name, this.#fill(field));
    if (button.name) data.append(button.name, button.value);
    const url = new URL(button.action ?? form.action ?? '', response.url);
    if (form.method === 'post') return { url, options: { method: 'POST', body: data.toString() } };
    url.search = data.toString();
    return { url, options: {} };
  }

  #fill({ name, type, value }) {
    if (type === 'password') return 'a-password-of-no-worth';
    if (value) return value;
    if (type === 'email') return `${this.user}@example.com`;
    return type === 'text' || /user|login|email/i.test(name) ? this.user : value;
  }

  #keepCookies(url, lines) {
    const jar = this.cookies.get(url.hostname) ?? new Map();
    this.cookies.set(url.hostname, jar);
    for (const line of lines) {
      const [pair, ...rest] = line.split(';').map((part) => part.trim());
      const at = pair.indexOf('=');
      const attributes = Object.fromEntries(rest.map((part) => part.split('=')).map(([key, value = '']) => [key.toLowerCase(), value]));
      const path = attributes.path?.startsWith('/') ? attributes.path : url.pathname.replace(/\/[^/]*$/, '') || '/';
      const name = pair.slice(0, at);
      const key = `${name};${path}`;
      if (name.startsWith('__Host-') && (!('secure' in attributes) || attributes.path !== '/' || 'domain' in attributes)) continue; // Chrome drops it
      const dead = attributes['max-age'] !== undefined ? Number(attributes['max-age']) <= 0 : attributes.expires && new Date(attributes.expires) < new Date();
      if (dead) jar.delete(key);
      else jar.set(key, { name, value: pair.slice(at + 1), path, sameSite: (attributes.samesite ?? 'lax').toLowerCase() });
    }
  }

  #cookiesFor(url, { method, site }) {
    const cross = site === 'cross-site';
    return [...(this.cookies.get(url.hostname) ?? new Map()).values()]
      .filter(({ path }) => url.pathname === path || url.pathname.startsWith(path.endsWith('/') ? path : `${path}/`))
      .filter(({ sameSite }) => !cross || sameSite === 'none' || (sameSite === 'lax' && method === 'GET'))
      .sort((a, b) => b.path.length - a.path.length)
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }
}

const SITES = ['none', 'same-origin', 'same-site', 'cross-site'];
const worst = (a, b) => SITES[Math.max(SITES.indexOf(a), SITES.indexOf(b))];
const relation = (from, to) => (from.origin === to.origin ? 'same-origin' : from.protocol === to.protocol && from.hostname === to.hostname ? 'same-site' : 'cross-site');

const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
export const decode = (text) => text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (all, hex, dec, name) =>
  hex ? String.fromCodePoint(parseInt(hex, 16)) : dec ? String.fromCodePoint(Number(dec)) : ENTITIES[name] ?? all);

function attribute(text, name) {
  const found = new RegExp(`(?:^|\\s)${name}(?:\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s>]+)))?(?=\\s|/?$|>)`, 'i').exec(text);
  return found ? decode(found[1] ?? found[2] ?? found[3] ?? '') : undefined;
}

/** The forms of a page, with the fields each would send and the buttons that send it. */
export function forms(html) {
  return [...html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, head, inside]) => {
    const inputs = [...inside.matchAll(/<input\b([^>]*)>/gi)].map(([, text]) => ({
      name: attribute(text, 'name'),
      type: (attribute(text, 'type') ?? 'text').toLowerCase(),
      value: attribute(text, 'value') ?? '',
      checked: attribute(text, 'checked') !== undefined,
    }));
    const buttons = [...inside.matchAll(/<button\b([^>]*)>([\s\S]*?)<\/button>/gi)]
      .filter(([, text]) => (attribute(text, 'type') ?? 'submit').toLowerCase() === 'submit')
      .map(([, text, label]) => ({ name: attribute(text, 'name'), value: attribute(text, 'value') ?? '', action: attribute(text, 'formaction'), text: label.replace(/<[^>]*>/g, ' ').trim() }));
    for (const { name, type, value } of inputs) if (type === 'submit') buttons.push({ name, value, text: value });
    return {
      action: attribute(head, 'action'),
      method: (attribute(head, 'method') ?? 'get').toLowerCase(),
      fields: inputs.filter(({ name, type, checked }) => name && type !== 'submit' && (!/checkbox|radio/.test(type) || checked)),
      buttons,
    };
  });
}
