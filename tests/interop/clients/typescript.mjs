// The official TypeScript SDK, of either era, as an MCP client that logs in.
import * as newer from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { freePort, within } from '../kit.mjs';

/** Speaks all wires until 2025-11-25. */
export const ONE = { Client, http: StreamableHTTPClientTransport, sse: SSEClientTransport };
/** Asks for 2026-07-28 first. */
export const TWO = { Client: newer.Client, http: newer.StreamableHTTPClientTransport, sse: newer.SSEClientTransport, settings: { versionNegotiation: { mode: 'auto' } } };

/** What a desktop application keeps: its registration, its tokens, its verifier. All in memory, all readable. */
export class Wallet {
  constructor({ redirectUrl, clientName = 'Interop TypeScript', information, metadata = {}, clientMetadataUrl }) {
    Object.assign(this, { redirectUrl, clientName, information, metadata, clientMetadataUrl });
  }
  get clientMetadata() {
    return {
      client_name: this.clientName,
      redirect_uris: [String(this.redirectUrl)],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      ...this.metadata,
    };
  }
  state() {
    return (this.sentState = `s-${crypto.randomUUID()}%20+/="ü`); // nothing about a state may be taken for granted
  }
  clientInformation() { return this.information; }
  saveClientInformation(information) { this.information = information; }
  tokens() { return this.issued; }
  saveTokens(tokens) { this.issued = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  redirectToAuthorization(url) { this.authorizeUrl = url; }
}

export async function wallet(options = {}) {
  return new Wallet({ redirectUrl: `http://127.0.0.1:${await freePort()}/callback`, ...options });
}

/** A client that has not connected yet, and its way to `url`: `wire` is `http`, or `sse` for the oldest one. */
function prepare(url, keeper, { sdk = ONE, wire = 'http', headers = {} } = {}) {
  return {
    client: new sdk.Client({ name: 'interop-typescript', version: '1.0.0' }, sdk.settings),
    transport: new sdk[wire](new URL(url), { authProvider: keeper, requestInit: { headers } }),
  };
}

/** The authorize URL this client would open, after discovery and registration. */
export async function begin(url, keeper, how) {
  const { client, transport } = prepare(url, keeper, how);
  try {
    await within(20_000, 'the first connect', client.connect(transport));
  } catch (error) {
    if (error.constructor.name !== 'UnauthorizedError') throw error;
    return { client, transport, authorizeUrl: keeper.authorizeUrl };
  }
  throw new Error('the server let a client in that has no token');
}

/** Logs in with `browser` and gives back a connected client. */
export async function login(url, browser, { keeper, ...how } = {}) {
  keeper ??= await wallet();
  const { transport: first } = await begin(url, keeper, how);
  const end = await browser.walk(keeper.authorizeUrl, { callback: keeper.redirectUrl });
  if (!end.callback) throw new Error(`no callback, but a page: ${end.page.status} ${end.page.url}\n${end.page.body}\n${browser.story()}`);
  const answer = end.callback.searchParams;
  if (answer.get('state') !== keeper.sentState) throw new Error(`state came back as ${answer.get('state')}, sent was ${keeper.sentState}`);
  if (answer.has('error')) throw Object.assign(new Error(`refused: ${answer}`), { answer });
  await within(20_000, 'the code exchange', first.finishAuth(answer.get('code'), answer.get('iss')));
  return { ...(await connect(url, keeper, how)), keeper, answer };
}

/** Connects with the tokens a wallet holds. */
export async function connect(url, keeper, how) {
  const { client, transport } = prepare(url, keeper, how);
  await within(20_000, 'connect', client.connect(transport));
  return { client, transport };
}

/** Without any login, for parts by themselves. */
export async function connectPlain(url) {
  const client = new Client({ name: 'interop-typescript', version: '1.0.0' });
  const transport = new StreamableHTTPClientTransport(new URL(url));
  await client.connect(transport);
  return { client, transport };
}

export const textOf = (result) => result.content.map(({ text }) => text).join('');
