"""Refusals, errors in streams and usage in streams of the Chat Completions dialect."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from mitmesh.dialects.base import Answer, Dialect, Framing, Kind, Part, Refusal
from mitmesh.dialects.openai_chat import OpenAIChat
from mitmesh.dialects.openai_embeddings import OpenAIEmbeddings
from mitmesh.dialects.openai_responses import OpenAIResponses
from openai_client import client

CHAT = OpenAIChat()


def create(dialect: Dialect, body: Any, status: int = 200, **more: Any) -> Any:
    sdk = client(body, status)
    if isinstance(dialect, OpenAIChat):
        return sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], **more)
    if isinstance(dialect, OpenAIResponses):
        return sdk.responses.create(model="m", input="hi", **more)
    return sdk.embeddings.create(model="m", input="hi")


@pytest.mark.parametrize("dialect", [CHAT, OpenAIResponses(), OpenAIEmbeddings()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (413, openai.APIStatusError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_refusal(dialect: Dialect, status: int, error: type[openai.APIStatusError]) -> None:
    """A refusal raises the SDK's ordinary error for its status, with our message, type, rule and id in it."""
    refusal = Refusal(status, "over_budget", "The budget is used up.", "quota.team", "01ABC")
    with pytest.raises(error, match=r"The budget is used up\.") as caught:
        create(dialect, dialect.refusal(refusal), status)
    assert (caught.value.status_code, caught.value.type, caught.value.code) == (status, "over_budget", "quota.team")
    body: Any = caught.value.body
    assert body == {
        "message": "The budget is used up.",
        "type": "over_budget",
        "param": None,
        "code": "quota.team",
        "mesh_id": "01ABC",
    }


@pytest.mark.parametrize("dialect", [CHAT, OpenAIResponses()], ids=lambda dialect: dialect.name)
def test_error_in_a_stream(dialect: Dialect) -> None:
    """An error after the first words raises in the client that reads the stream, with our message."""
    begun = list(dialect.render_stream(Answer(parts=[Part(Kind.TEXT, "one two three four")])))[:5]
    refusal = Refusal(503, "stage_failed", "The answer was ended.", "engine.stream", "01ABC")
    stream = create(dialect, iter([*begun, dialect.stream_error(refusal)]), stream=True)
    with pytest.raises(openai.APIError, match=r"The answer was ended\.") as caught:
        list(stream)
    assert caught.value.code == "engine.stream"


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ({"stream": True}, (("stream_options",), {"include_usage": True})),
        ({"stream": True, "stream_options": None}, (("stream_options",), {"include_usage": True})),
        ({"stream": True, "stream_options": {}}, (("stream_options", "include_usage"), True)),
        ({"stream": True, "stream_options": {"include_usage": False}}, (("stream_options", "include_usage"), True)),
        ({"stream": True, "stream_options": {"include_usage": True}}, None),
        ({"stream": True, "stream_options": "odd"}, None),
        ({"stream": False}, None),
        ({}, None),
        (None, None),
    ],
)
def test_ask_usage(doc: Any, expected: Any) -> None:
    """Usage is asked for where a call streams and has not asked itself."""
    assert CHAT.ask_usage(doc) == expected


@pytest.mark.parametrize(
    ("doc", "only"),
    [
        ({"choices": [], "usage": {"prompt_tokens": 1}}, True),
        ({"choices": [], "usage": None}, False),
        ({"choices": [], "prompt_filter_results": []}, False),
        ({"choices": [{"delta": {}}], "usage": {"prompt_tokens": 1}}, False),
        (None, False),
        ([], False),
    ],
)
def test_only_usage(doc: Any, only: bool) -> None:
    """Only an event without choices can be left out again."""
    assert CHAT.only_usage(doc) is only


@pytest.mark.parametrize(("stream", "framing"), [(True, Framing.SSE), (False, Framing.NONE)])
def test_framing(stream: bool, framing: Framing) -> None:
    """The request says how its answer is cut."""
    for dialect, doc in ((CHAT, {"messages": []}), (OpenAIResponses(), {"input": "hi"})):
        assert dialect.framing(dialect.read({**doc, "stream": stream}, "/v1/x", {}), "/v1/x") is framing
