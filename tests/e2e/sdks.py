"""The providers' own SDKs behind one face: the same question asked of each, sync or async, streamed or not.

A `Way` says how a client reaches a provider; `ask` and `ask_async` put the question and give back what the SDK made
of the answer.
"""

from __future__ import annotations

import inspect
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
from google import genai

QUESTION = "Wie wird das Wetter in Zürich? ☀"
KEY = "sk-test-0123456789abcdef"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
WEATHER = {"name": "get_weather", "description": "Forecast for a city"}


@dataclass(frozen=True)
class Way:
    """How a client reaches a provider: through `proxy`, or at `base` (a URL without /v1; None is the SDK's own)."""

    name: str
    trust: Path
    proxy: str | None = None
    base: str | None = None
    http2: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers of each request."""

    def client(self, library: Any, answers: list[Any], *, asynchronous: bool) -> Any:
        """A client of httpx or httpx2 (the SDKs use either) that appends each response to `answers`."""
        options = {"verify": _context(self), "http2": self.http2, "proxy": self.proxy, "timeout": 20.0}
        options["headers"] = dict(self.headers)
        if asynchronous:

            async def note(response: Any) -> None:
                answers.append(response)

            return library.AsyncClient(**options, trust_env=False, event_hooks={"response": [note]})
        return library.Client(**options, trust_env=False, event_hooks={"response": [answers.append]})


class PrefersHttp2(ssl.SSLContext):
    """Offers h2 first, as browsers, Node, Go and curl do. httpx offers it last, and mitmproxy heeds the order."""

    def set_alpn_protocols(self, _: Any) -> None:
        super().set_alpn_protocols(["h2", "http/1.1"])


@cache
def _context(way: Way) -> ssl.SSLContext:
    if not way.http2:
        return ssl.create_default_context(cafile=str(way.trust))
    context = PrefersHttp2(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(way.trust)
    return context


@dataclass
class Got:
    """What an SDK made of an answer. Token counts are the SDK's own numbers, -1 where it had none."""

    text: str = ""
    tool: str | None = None
    arguments: Any = None
    prompt: int = -1
    completion: int = -1
    sent: bytes = b""
    """The request's body as the SDK wrote it."""
    version: str = ""
    """HTTP version between client and proxy, as HTTP/1.1."""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The exchange's id, as the answer told it."""
        return self.headers["x-mesh-id"]


@dataclass(frozen=True)
class Kind:
    """One SDK and one of its calls."""

    name: str
    provider: str
    operation: str
    model: str
    library: Any
    make: Callable[[Way, Any, bool], Any]
    call: Callable[[Any, bool, bool], Any]
    read: Callable[[Any], Got]
    read_events: Callable[[list[Any]], Got]


def ask(kind: Kind, way: Way, *, stream: bool = False, tools: bool = False) -> Got:
    """Put the question, blocking."""
    answers: list[Any] = []
    with way.client(kind.library, answers, asynchronous=False) as http:
        answer = kind.call(kind.make(way, http, False), stream, tools)
        got = kind.read_events(list(answer)) if stream else kind.read(answer)
    return _told(got, answers[-1])


async def ask_async(kind: Kind, way: Way, *, stream: bool = False, tools: bool = False) -> Got:
    """Put the question, awaiting."""
    answers: list[Any] = []
    async with way.client(kind.library, answers, asynchronous=True) as http:
        answer = kind.call(kind.make(way, http, True), stream, tools)
        if inspect.isawaitable(answer):
            answer = await answer
        got = kind.read_events([event async for event in answer]) if stream else kind.read(answer)
    return _told(got, answers[-1])


def _told(got: Got, response: Any) -> Got:
    got.headers, got.sent = dict(response.headers), response.request.content
    got.version = response.http_version
    return got


# --- OpenAI ---


def make_openai(way: Way, http: Any, asynchronous: bool) -> Any:
    """An OpenAI client; at its own base URL where the way has none."""
    base = way.base and f"{way.base}/v1"
    return (openai.AsyncOpenAI if asynchronous else openai.OpenAI)(
        api_key=KEY, base_url=base, http_client=http, max_retries=0
    )


def _call_chat(client: Any, stream: bool, tools: bool) -> Any:
    extra: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    if tools:
        extra["tools"] = [{"type": "function", "function": {**WEATHER, "parameters": SCHEMA}}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    return client.chat.completions.create(model="gpt-4o-mini", messages=messages, **extra)


def _read_chat(answer: Any) -> Got:
    got = Got(answer.choices[0].message.content or "", prompt=answer.usage.prompt_tokens)
    got.completion = answer.usage.completion_tokens
    for call in answer.choices[0].message.tool_calls or []:
        got.tool, got.arguments = call.function.name, json.loads(call.function.arguments)
    return got


def _read_chat_events(events: list[Any]) -> Got:
    got, arguments = Got(), ""
    for event in events:
        if event.usage:
            got.prompt, got.completion = event.usage.prompt_tokens, event.usage.completion_tokens
        for choice in event.choices:
            got.text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                got.tool = got.tool or call.function.name
                arguments += call.function.arguments
    got.arguments = json.loads(arguments) if arguments else None
    return got


def _call_responses(client: Any, stream: bool, tools: bool) -> Any:
    extra: dict[str, Any] = {"stream": True} if stream else {}
    if tools:
        extra["tools"] = [{"type": "function", **WEATHER, "parameters": SCHEMA}]
    return client.responses.create(model="gpt-4o-mini", instructions="Be brief.", input=QUESTION, **extra)


def _read_responses(answer: Any) -> Got:
    got = Got(answer.output_text, prompt=answer.usage.input_tokens, completion=answer.usage.output_tokens)
    for item in answer.output:
        if item.type == "function_call":
            got.tool, got.arguments = item.name, json.loads(item.arguments)
    return got


def _read_responses_events(events: list[Any]) -> Got:
    assert events[-1].type == "response.completed"
    got = _read_responses(events[-1].response)
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == got.text
    return got


# --- Anthropic ---


def make_anthropic(way: Way, http: Any, asynchronous: bool) -> Any:
    """An Anthropic client; at its own base URL where the way has none."""
    return (anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic)(
        api_key=KEY, base_url=way.base, http_client=http, max_retries=0
    )


def _call_anthropic(client: Any, stream: bool, tools: bool) -> Any:
    extra: dict[str, Any] = {"stream": True} if stream else {}
    if tools:
        extra["tools"] = [{**WEATHER, "input_schema": SCHEMA}]
    messages = [{"role": "user", "content": QUESTION}]
    return client.messages.create(
        model="claude-haiku-4-5", max_tokens=64, system="Be brief.", messages=messages, **extra
    )


def _read_anthropic(answer: Any) -> Got:
    usage = answer.usage
    got = Got(prompt=usage.input_tokens + (usage.cache_read_input_tokens or 0), completion=usage.output_tokens)
    for block in answer.content:
        if block.type == "tool_use":
            got.tool, got.arguments = block.name, block.input
        else:
            got.text += block.text
    return got


def _read_anthropic_events(events: list[Any]) -> Got:
    got, arguments = _read_anthropic(events[0].message), ""
    for event in events:
        if event.type == "content_block_start" and event.content_block.type == "tool_use":
            got.tool = event.content_block.name
        elif event.type == "content_block_delta":
            got.text += getattr(event.delta, "text", "")
            arguments += getattr(event.delta, "partial_json", "")
        elif event.type == "message_delta":
            got.completion = event.usage.output_tokens
    assert events[-1].type == "message_stop"
    got.arguments = json.loads(arguments) if arguments else None
    return got


# --- Google ---


def make_gemini(way: Way, http: Any, asynchronous: bool) -> Any:
    """A Gemini client (its `aio` half where asynchronous); at its own base URL where the way has none."""
    options: dict[str, Any] = {"base_url": way.base} if way.base else {}
    options["httpx_async_client" if asynchronous else "httpx_client"] = http
    client = genai.Client(api_key=KEY, http_options=genai.types.HttpOptions(**options))
    return client.aio if asynchronous else client


def _call_gemini(client: Any, stream: bool, tools: bool) -> Any:
    config: dict[str, Any] = {"system_instruction": "Be brief."}
    if tools:
        config["tools"] = [{"function_declarations": [{**WEATHER, "parameters": SCHEMA}]}]
        config["automatic_function_calling"] = {"disable": True}
    method = client.models.generate_content_stream if stream else client.models.generate_content
    return method(model="gemini-2.5-flash", contents=QUESTION, config=config)


def _read_gemini(answer: Any) -> Got:
    return _read_gemini_events([answer])


def _read_gemini_events(events: list[Any]) -> Got:
    usage = events[-1].usage_metadata
    got = Got(prompt=usage.prompt_token_count, completion=usage.candidates_token_count)
    for event in events:
        for part in event.candidates[0].content.parts:
            got.text += part.text or ""
            if part.function_call:
                got.tool, got.arguments = part.function_call.name, part.function_call.args
    return got


CHAT = Kind(
    "openai_chat", "openai", "chat", "gpt-4o-mini", httpx2, make_openai, _call_chat, _read_chat, _read_chat_events
)
RESPONSES = Kind(
    "openai_responses",
    "openai",
    "chat",
    "gpt-4o-mini",
    httpx2,
    make_openai,
    _call_responses,
    _read_responses,
    _read_responses_events,
)
ANTHROPIC = Kind(
    "anthropic",
    "anthropic",
    "chat",
    "claude-haiku-4-5",
    httpx2,
    make_anthropic,
    _call_anthropic,
    _read_anthropic,
    _read_anthropic_events,
)
GEMINI = Kind(
    "gemini",
    "google",
    "chat",
    "gemini-2.5-flash",
    httpx,
    make_gemini,
    _call_gemini,
    _read_gemini,
    _read_gemini_events,
)
KINDS = [CHAT, RESPONSES, ANTHROPIC, GEMINI]
