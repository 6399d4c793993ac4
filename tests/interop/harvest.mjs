// What was secret on the wire, for a search of all that was said.
const SECRET = /^(code|code_verifier|access_token|refresh_token|id_token|client_secret|state|nonce|csrf\w*|request|token|assertion|registration_access_token)$/;

/** Every secret in what the taps saw: bodies, queries, redirects, cookies, credentials. */
export function harvest(...taps) {
  const secrets = new Map();
  const add = (value, from) => {
    if (typeof value !== 'string' || value.length < 12) return;
    const pieces = /^[\w-]+(\.[\w-]*){2,4}$/.test(value) ? value.split('.').slice(1) : []; // the parts of a JWT give it away too
    for (const one of [value, encodeURIComponent(value), ...pieces]) if (one.length >= 12) secrets.set(one, from);
  };
  const fields = (pairs, from) => {
    for (const [name, value] of pairs) if (SECRET.test(name)) add(value, `${from} ${name}`);
  };
  const json = (text, from) => {
    try {
      fields(Object.entries(JSON.parse(text) ?? {}), from);
    } catch {
      fields(new URLSearchParams(text), from);
    }
  };
  for (const { method, url, headers, body, responseHeaders, responseBody } of taps.flatMap((tap) => tap.exchanges)) {
    const at = `${method} ${url.split('?')[0]}`;
    fields(new URL(url, 'http://x').searchParams, at);
    if (body) json(body, at);
    if (/json/.test(responseHeaders['content-type'] ?? '')) json(responseBody, `answer to ${at}`);
    if (responseHeaders.location) fields(new URL(responseHeaders.location, 'http://x').searchParams, `redirect of ${at}`);
    for (const line of responseHeaders['set-cookie'] ?? []) add(line.split(';')[0].replace(/^[^=]*=/, ''), `cookie of ${at}`);
    for (const [, name, value] of responseBody.matchAll(/<input[^>]*type="hidden"[^>]*name="(\w+)"[^>]*value="([^"]*)"/g)) fields([[name, value]], `page of ${at}`);
    add((headers.authorization ?? '').replace(/^\w+ /, ''), `credential of ${at}`);
  }
  return secrets;
}

/** Where which of them stands in a text; the secret itself is not told. */
export function leaks(secrets, text) {
  return [...secrets].filter(([secret]) => text.includes(secret)).map(([secret, from]) => {
    const at = text.indexOf(secret);
    return `${from}: …${text.slice(Math.max(0, at - 160), at).replace(/\s+/g, ' ')}[${secret.length} characters]`;
  });
}
