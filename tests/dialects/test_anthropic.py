"""The Anthropic dialect as the house sees it."""

from __future__ import annotations

import pytest

from mitmesh.dialects.anthropic import Anthropic
from mitmesh.dialects.base import Framing, Operation

DIALECT = Anthropic()


@pytest.mark.parametrize(
    ("path", "stream", "framing"),
    [
        ("/v1/messages", True, Framing.SSE),
        ("/v1/messages", False, Framing.NONE),
        ("/v1/p/models/claude-x:streamRawPredict", False, Framing.SSE),
    ],
)
def test_framing(path: str, stream: bool, framing: Framing) -> None:
    """Streams are SSE, known from the request alone."""
    call = DIALECT.read({"model": "m", "messages": [], "stream": stream}, path, {})
    assert call.operation is Operation.CHAT
    assert DIALECT.framing(call, path) is framing


def test_usage_need_not_be_asked_for() -> None:
    """Anthropic's streams carry their usage by themselves."""
    assert DIALECT.ask_usage({"stream": True}) is None
    assert not DIALECT.only_usage({"type": "message_delta"})
