// Every client under one handle: one whole login with a call of `echo`, over the wire that is asked for.
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { freePort, scratch, sleep } from '../kit.mjs';
import { havePython, haveRmcp, python, rmcp } from './lines.mjs';
import * as remote from './mcp-remote.mjs';
import * as ts from './typescript.mjs';

/** Goes on calling. */
async function staying(client, seconds = 0) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(1500)) {
    await client.callTool({ name: 'echo', arguments: { message: 'still here' } });
  }
}

/**
 * What a client is told, and what it keeps from one login to the next: its registration, never its tokens.
 * @typedef {{ url: string, wire?: 'http' | 'sse', person: object, memory: object, stay?: number }} Run
 *   With `stay` it goes on calling for so many seconds.
 */

const typescript = (sdk, clientName) => async (t, { url, wire = 'http', person, memory, stay }) => {
  memory.redirect ??= `http://127.0.0.1:${await freePort()}/callback`;
  const keeper = await ts.wallet({ clientName, redirectUrl: memory.redirect, information: memory.information, clientMetadataUrl: memory.document });
  const { client } = await ts.login(url, person, { keeper, sdk, wire });
  memory.information = keeper.information;
  const { tools } = await client.listTools();
  const text = ts.textOf(await client.callTool({ name: 'echo', arguments: { message: 'hello' } }));
  await staying(client, stay);
  await client.close();
  return { tools: tools.map(({ name }) => name), text };
};

/** A client that is a program of its own failed if it says so, or says nothing. */
const soundly = ({ result }) => {
  if (!result.tools) throw new Error(`refused: ${result.error}`);
  return { tools: result.tools, text: result.text ?? JSON.stringify(result.echo) };
};

const pythonOf = (era) => async (t, { url, wire, person, memory, stay }) => {
  memory.redirect ??= `http://127.0.0.1:${await freePort()}/callback`;
  memory.keep ??= path.join(memory.dir ?? scratch(t), `python-${era}.json`);
  return soundly(await python(url, person, { era, wire, auto: true, seconds: stay, ...memory }));
};

const rust = async (t, { url, person, memory, stay }) => {
  memory.redirect ??= `http://127.0.0.1:${await freePort()}/callback`;
  return soundly(await rmcp(url, person, { seconds: stay, ...memory }));
};

/** `told` are the arguments by which it is told who it is. */
const bridge = (told = () => []) => async (t, { url, wire = 'http', person, memory, stay }) => {
  memory.home ??= memory.dir ?? scratch(t, 'mcp-remote-');
  memory.port ??= await freePort();
  const { client, close } = await remote.login(t, url, person, memory.home, {
    port: memory.port,
    told: ['--transport', `${wire}-only`, '--protocol', 'auto', ...told(memory)],
  });
  const { tools } = await client.listTools();
  const text = ts.textOf(await client.callTool({ name: 'echo', arguments: { message: 'hello' } }));
  await staying(client, stay);
  await close();
  for (const file of readdirSync(memory.home, { recursive: true })) {
    if (/_tokens\.json$/.test(file)) rmSync(path.join(memory.home, file));
  }
  return { tools: tools.map(({ name }) => name), text };
};

/** `newest` is the wire it speaks where the server speaks all; `isHosted`: it can be told any redirect URI. */
export const CLIENTS = [
  { name: 'TypeScript SDK 1', newest: '2025-11-25', use: typescript(ts.ONE, 'Interop TypeScript 1'), isHosted: true },
  { name: 'TypeScript SDK 2', newest: '2026-07-28', use: typescript(ts.TWO, 'Interop TypeScript 2'), isHosted: true },
  { name: 'Python SDK 1', newest: '2025-11-25', use: pythonOf(1), missing: () => !havePython(1) },
  { name: 'Python SDK 2', newest: '2026-07-28', use: pythonOf(2), missing: () => !havePython(2) },
  { name: 'rmcp', newest: '2026-07-28', use: rust, hasSse: false, missing: () => !haveRmcp() },
  { name: 'mcp-remote', newest: '2026-07-28', use: bridge() },
];

/** The ways of clients that do not register: the file knows them, or a document describes them. */
export const KNOWN = [
  { name: 'mcp-remote, static', newest: '2026-07-28', use: bridge(({ id }) => ['--static-oauth-client-info', JSON.stringify({ client_id: id })]) },
];
export const DESCRIBED = [
  { name: 'TypeScript SDK 1, CIMD', newest: '2025-11-25', use: typescript(ts.ONE) },
  { name: 'TypeScript SDK 2, CIMD', newest: '2026-07-28', use: typescript(ts.TWO) },
  { name: 'Python SDK 1, CIMD', newest: '2025-11-25', use: pythonOf(1), missing: () => !havePython(1) },
  { name: 'Python SDK 2, CIMD', newest: '2026-07-28', use: pythonOf(2), missing: () => !havePython(2) },
  { name: 'mcp-remote, CIMD', newest: '2026-07-28', use: bridge(({ document }) => ['--client-metadata-url', document]) },
];
