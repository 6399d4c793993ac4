"""The official Python SDK as an MCP client that logs in.

    python_client.py MCP_URL REDIRECT_URI [SECONDS]

Prints `AUTHORIZE <url>`, reads the callback URL as one line from standard input, and prints the outcome as one line
of JSON: the names of the tools, and what the tool `echo` answered. With SECONDS it goes on calling `echo` once a second
for so long, and tells how often (`calls`); being sent to log in again is an error then.
"""

import asyncio
import json
import sys
import time
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import ClientSession
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata


class Wallet:
    """Tokens and registration, in memory."""

    tokens = None
    client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info


logins = 0


async def redirect(url: str) -> None:
    global logins
    logins += 1
    if logins > 1 and len(sys.argv) > 3:
        print(json.dumps({"error": "sent to log in again"}), flush=True)
        sys.exit(4)
    print(f"AUTHORIZE {url}", flush=True)


async def callback() -> AuthorizationCodeResult:
    line = await asyncio.to_thread(sys.stdin.readline)
    query = {name: values[0] for name, values in parse_qs(urlsplit(line.strip()).query).items()}
    if "error" in query:
        print(json.dumps({"error": query["error"]}), flush=True)
        sys.exit(3)
    return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))


async def main(url: str, redirect_uri: str, seconds: float = 0) -> None:
    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="Interop Python",
            redirect_uris=[redirect_uri],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        ),
        storage=Wallet(),
        redirect_handler=redirect,
        callback_handler=callback,
    )
    async with httpx2.AsyncClient(auth=auth, timeout=30) as http:
        async with streamable_http_client(url, http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                tools = await session.list_tools()
                result = await session.call_tool("echo", {"message": "hello from python"})
                outcome = {"tools": [tool.name for tool in tools.tools], "text": result.content[0].text}
                if seconds:
                    outcome["calls"] = await go_on(session, seconds)
                print(json.dumps(outcome), flush=True)


async def go_on(session: ClientSession, seconds: float) -> int:
    end, calls = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        await asyncio.sleep(1)
        result = await session.call_tool("echo", {"message": f"call {calls}"})
        assert f"call {calls}" in result.content[0].text, result
        calls += 1
    return calls


asyncio.run(main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])))
