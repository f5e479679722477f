"""The Gemini dialect as the house sees it."""

from __future__ import annotations

import pytest

from mitmesh.dialects.base import Framing
from mitmesh.dialects.gemini import Gemini

DIALECT = Gemini()


@pytest.mark.parametrize(
    ("path", "framing"),
    [
        ("/v1beta/models/g:generateContent?alt=sse", Framing.NONE),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", Framing.SSE),
        ("/v1beta/models/g:streamGenerateContent", Framing.JSON_ARRAY),
    ],
)
def test_framing(path: str, framing: Framing) -> None:
    """How the answer is cut follows from method and query, not from its content type."""
    assert DIALECT.framing(DIALECT.read({"contents": []}, path, {}), path) is framing


def test_usage_need_not_be_asked_for() -> None:
    """Gemini's streams carry their usage by themselves."""
    assert DIALECT.ask_usage({"contents": []}) is None
    assert not DIALECT.only_usage({"usageMetadata": {}})
