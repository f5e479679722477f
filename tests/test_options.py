from __future__ import annotations

from typing import Any

import pytest
from mitmproxy.tools.dump import DumpMaster

from mitmesh import options


@pytest.fixture
async def real() -> Any:
    """The options of a real mitmdump, as the engine leaves them."""
    master = DumpMaster(None, with_termlog=False, with_dumper=True)
    master.options.update(**options.SET)
    return master.options


class Settings(dict[str, Any]):
    """Options as mitmproxy's manager shows them."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


async def test_defaults_pass(real: Any) -> None:
    """What mitmproxy ships, with what the engine sets, is accepted."""
    assert options.violation(real) is None


async def test_every_refused_option_exists(real: Any) -> None:
    """A name that mitmproxy does not know would protect from nothing."""
    assert set(real.keys()) >= options.REFUSED.keys()
    assert set(real.keys()) >= options.SET.keys()


@pytest.mark.parametrize("name", options.REFUSED)
def test_violation(name: str) -> None:
    """Any other value than the one wanted is told, with the option's name and the reason."""
    wanted, why = options.REFUSED[name]
    good = {key: value for key, (value, _) in options.REFUSED.items()}
    others: list[Any] = (
        [["x"], ("x",)] if isinstance(wanted, list) else [not wanted] if isinstance(wanted, bool) else ["x"]
    )
    for other in others:
        said = options.violation(Settings(good | {name: other}))
        assert said == f"mitmproxy option {name} must be {wanted!r}: {why}"
    assert options.violation(Settings(good)) is None


def test_sequences_are_compared_by_what_is_in_them() -> None:
    """An empty tuple is an empty list."""
    assert options.violation(Settings(ignore_hosts=())) is None


@pytest.mark.parametrize("name", ["use_compromised_ca", "ca_compromised_ok", "allow_public_ca"])
def test_a_public_ca(name: str) -> None:
    """No option that lets a publicly known key sign may be on, whatever it will be called."""
    assert options.violation(Settings({name: False})) is None
    assert name in (options.violation(Settings({name: True})) or "")


@pytest.mark.parametrize(
    ("spec", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("[::1]:9090", "::1", 9090),
        ("::1:9090", "::1", 9090),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
    ],
)
def test_host_port(spec: str, host: str, port: int) -> None:
    """host:port, an IPv6 address in brackets or without."""
    assert options.host_port(spec, "mesh_listen") == (host, port)


@pytest.mark.parametrize("spec", ["8080", ":8080", "host", "host:", "host:http", "host:-1", "host:65536", "host:1.5",
                                  "host:²", "", "[]:80"])  # fmt: skip
def test_host_port_that_is_none(spec: str) -> None:
    """What is no host:port names its option and what it should look like."""
    with pytest.raises(ValueError, match=r"mesh_gateway must be host:port, such as 127\.0\.0\.1:8080"):
        options.host_port(spec, "mesh_gateway")
