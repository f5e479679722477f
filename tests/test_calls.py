"""What the HTTP side decides without a proxy."""

from __future__ import annotations

import pytest

from mitmesh.calls import foreign_origin


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "http://127.0.0.1:8081"}, False),
        ({"origin": "http://[::1]:8081"}, False),
        ({"origin": "https://chat.example.com"}, False),
        ({"origin": "https://chat.example.com:8443"}, True),
        ({"origin": "http://evil.example:8081"}, True),
        ({"origin": "http://localhost.evil.example"}, True),
        ({"origin": "http://[::2]"}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-origin"}, False),
    ],
)
def test_pages_of_other_origins(headers: dict[str, str], foreign: bool) -> None:
    """A web page of another origin may not call the gateway, unless the rules name it; programs may."""
    assert (foreign_origin(headers, ["https://chat.example.com"]) is not None) is foreign
