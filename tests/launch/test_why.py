"""scripts/why: whose answer it was."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.launch import why


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"origin": "provider", "outcome": "client_gone", "status": None}, "nobody's: there was no answer yet"),
        ({"origin": "provider", "outcome": "interrupted", "status": None}, "nobody's: there was no answer yet"),
        ({"origin": "provider", "outcome": "client_gone", "status": 200}, "the provider's own answer"),
        (
            {"origin": "provider", "outcome": "answered", "status": 429},
            "the provider's own error; mitmesh passed it on",
        ),
        (
            {"origin": "proxy", "outcome": "upstream_failed", "status": 502},
            "written by mitmesh, because no answer came",
        ),
    ],
)
def test_whose(call: dict[str, Any], said: str) -> None:
    """An answer that never came is nobody's."""
    assert said in why._whose({"id": "x", **call})
