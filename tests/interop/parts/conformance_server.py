"""An MCP server on the Python SDK for the official suite: both wires, events that can be asked for again.

It has the tools, resources and prompts that the suite looks for by name, as far as the SDK makes them in a line or two.
What is missing fails without us as well, which is all the same: the suite's word without us is held against that with us.
"""
import asyncio
import json
import sys
from typing import Annotated

from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, UserMessage
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.types import (
    AudioContent,
    Completion,
    EmbeddedResource,
    ImageContent,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SOUND = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="


class Events(EventStore):
    """Keeps everything, in order."""

    def __init__(self):
        self.all = []

    async def store_event(self, stream_id, message):
        self.all.append((stream_id, message))
        return str(len(self.all))

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id)
        if not 1 <= last <= len(self.all):
            return None
        stream = self.all[last - 1][0]
        for at, (of, message) in enumerate(list(self.all), start=1):
            if at > last and of == stream and message is not None:
                await send_callback(EventMessage(message, str(at)))
        return stream


server = MCPServer("conformance-server", version="1.0.0")
image = ImageContent(type="image", data=PIXEL, mime_type="image/png")


def embedded(uri, kind, text):
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=kind, text=text))


@server.tool()
def echo(message: str) -> str:
    return f"Echo: {message}"


@server.tool()
def test_simple_text() -> str:
    return "This is a simple text response for testing."


@server.tool()
def test_image_content() -> list[ImageContent]:
    return [image]


@server.tool()
def test_audio_content() -> list[AudioContent]:
    return [AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]


@server.tool()
def test_embedded_resource() -> list[EmbeddedResource]:
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@server.tool()
def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    text = TextContent(type="text", text="Multiple content types test:")
    return [text, image, embedded("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}')]


@server.tool()
def test_error_handling() -> str:
    raise RuntimeError("This tool intentionally returns an error for testing")


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    for what in ("started", "processing data", "completed"):
        await ctx.info(f"Tool {what}")
        await asyncio.sleep(0.05)
    return "Tool with logging executed successfully"


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    for step in (0, 50, 100):
        await ctx.report_progress(step, 100, f"Completed step {step} of 100")
        await asyncio.sleep(0.05)
    return "done"


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    result = await ctx.session.create_message(messages=[message], max_tokens=100)
    return f"LLM response: {getattr(result.content, 'text', '')}"


class Answer(BaseModel):
    response: str


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    result = await ctx.elicit(message, Answer)
    return f"User response: action={result.action}"


class Name(BaseModel):
    name: str


def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


@server.tool()
def test_input_required_result_elicitation(user_name: Annotated[Name, Resolve(ask_name)]) -> str:
    return f"Hello, {user_name.name}!"


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    await ctx.info("Before disconnect")
    await ctx.close_sse_stream()
    await asyncio.sleep(0.3)
    await ctx.info("After reconnect")
    return "Reconnection test completed"


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return bytes.fromhex("89504e470d0a1a0a")


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.prompt()
def test_simple_prompt() -> str:
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    return [UserMessage(embedded(resourceUri, "text/plain", "Embedded resource content for testing."))]


@server.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    return [UserMessage(image)]


@server.completion()
async def complete(ref, argument, context) -> Completion:
    return Completion(values=["alpha", "beta"], total=2, has_more=False)


server.run("streamable-http", port=int(sys.argv[1]), event_store=Events(), retry_interval=100)
