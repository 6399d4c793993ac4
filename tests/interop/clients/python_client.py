"""The official Python SDK, of either era, as an MCP client that logs in.

    python_client.py MCP_URL REDIRECT_URI [--sse] [--auto] [--seconds N] [--keep FILE] [--document URL]

Prints `AUTHORIZE <url>`, reads the callback URL as one line from standard input, and prints the outcome as one line
of JSON: the names of the tools, and what the tool `echo` answered. With `--seconds` it goes on calling `echo` once a
second for so long, and tells how often (`calls`); being sent to log in again is an error then. `--sse` speaks the oldest
wire, `--auto` asks for the newest first, `--keep` is where its registration lies, `--document` what describes it (CIMD).
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

try:
    import httpx2 as httpx
    from mcp import Client
    from mcp.client.auth import AuthorizationCodeResult
except ImportError:  # the older era
    import httpx

    AuthorizationCodeResult = Client = None

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("redirect_uri")
parser.add_argument("--sse", action="store_true")
parser.add_argument("--auto", action="store_true")
parser.add_argument("--seconds", type=float, default=0)
parser.add_argument("--keep", type=Path)
parser.add_argument("--document")
given = parser.parse_args()


class Wallet:
    """Tokens in memory, the registration in a file if there is one."""

    tokens = None
    client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        if self.client_info is None and given.keep and given.keep.exists():
            self.client_info = OAuthClientInformationFull.model_validate_json(given.keep.read_text())
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info
        if given.keep:
            given.keep.write_text(client_info.model_dump_json(exclude_none=True))


logins = 0


async def redirect(url: str) -> None:
    global logins
    logins += 1
    if logins > 1 and given.seconds:
        print(json.dumps({"error": "sent to log in again"}), flush=True)
        sys.exit(4)
    print(f"AUTHORIZE {url}", flush=True)


async def callback():
    line = await asyncio.to_thread(sys.stdin.readline)
    query = {name: values[0] for name, values in parse_qs(urlsplit(line.strip()).query).items()}
    if "error" in query:
        print(json.dumps({"error": query["error"]}), flush=True)
        sys.exit(3)
    if AuthorizationCodeResult is None:
        return query["code"], query.get("state")
    return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))


@asynccontextmanager
async def connected(auth):
    """A session, on the wire that was asked for."""
    if given.sse:
        async with sse_client(given.url, auth=auth) as streams, ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            yield session
        return
    async with httpx.AsyncClient(auth=auth, timeout=30) as http:
        if given.auto and Client:
            async with Client(streamable_http_client(given.url, http_client=http), mode="auto") as client:
                yield client
            return
        async with streamable_http_client(given.url, http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                yield session


async def main() -> None:
    auth = OAuthClientProvider(
        server_url=given.url,
        client_metadata=OAuthClientMetadata(
            client_name="Interop Python" if Client else "Interop older Python",
            redirect_uris=[given.redirect_uri],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        ),
        storage=Wallet(),
        redirect_handler=redirect,
        callback_handler=callback,
        client_metadata_url=given.document,
    )
    async with connected(auth) as session:
        tools = await session.list_tools()
        result = await session.call_tool("echo", {"message": "hello from python"})
        outcome = {"tools": [tool.name for tool in tools.tools], "text": result.content[0].text}
        if given.seconds:
            outcome["calls"] = await go_on(session)
        print(json.dumps(outcome), flush=True)


async def go_on(session) -> int:
    end, calls = time.monotonic() + given.seconds, 0
    while time.monotonic() < end:
        await asyncio.sleep(1)
        result = await session.call_tool("echo", {"message": f"call {calls}"})
        assert f"call {calls}" in result.content[0].text, result
        calls += 1
    return calls


asyncio.run(main())
