"""Datasette answers those who ask for this machine by name."""

import pytest
from datasette.app import Datasette

from mitmesh.browse import serve
from mitmesh.launch.datasette_plugins import loopback


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("127.0.0.1:8001", None, True),
        ("localhost:8001", None, True),
        ("LOCALHOST", None, True),
        ("[::1]:8001", None, True),
        ("localhost:9999", None, True),  # forwarded through ssh
        ("127.0.0.1:8001", "http://localhost:8001", True),
        ("", None, False),
        ("evil.example:8001", None, False),
        ("localhost.evil.example", None, False),
        ("127.0.0.1.evil.example", None, False),
        ("evil.example@127.0.0.1.evil.example", None, False),
        ("[::1", None, False),
        ("127.0.0.1:8001", "https://evil.example", False),
        ("127.0.0.1:8001", "null", False),
    ],
)
def test_who_is_answered(host, origin, allowed):
    """The Host is loopback by name, and so is the Origin where there is one; the port does not matter."""
    assert loopback.allowed(host, origin) is allowed


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("evil.example", 403)])
async def test_datasette_has_the_check(host, status):
    """Datasette with our plugins folder refuses a rebound name on any page."""
    served = Datasette(memory=True, plugins_dir=str(serve.PLUGINS))
    answer = await served.client.get("/_memory.json", headers={"host": host})
    assert answer.status_code == status
