"""Fixtures: a test CA, two providers (one of them HTTP/1.1 only), one mitmesh for tests that break nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.certs import Authority, make_authority
from e2e.mesh import RAW_TEXT, WAYS, Mesh
from e2e.provider import Provider
from e2e.sdks import KINDS, Kind, Way

HTTP2_NAMES = ["api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"]
HTTP1_NAMES = ["api.groq.com", "plain.example", "blocked.example"]


@pytest.hookimpl(tryfirst=True)  # before slow ones are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """To start a mitmesh takes seconds: a test that has one of its own is slow, unless it says that it is quick."""
    for item in items:
        own = item.path.parent == Path(__file__).parent and "make_mesh" in getattr(item, "fixturenames", ())
        if own and not item.get_closest_marker("quick"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that the fake providers' certificates come from."""
    names = [*HTTP2_NAMES, *HTTP1_NAMES, "localhost", "127.0.0.1"]
    return make_authority(tmp_path_factory.mktemp("authority"), names)


@pytest.fixture(scope="session")
def provider_http2(authority: Authority) -> Iterator[Provider]:
    """Serves the providers' names in HTTP/2 and HTTP/1.1."""
    provider = Provider(authority.server_context(["h2", "http/1.1"])).start()
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def provider_http1(authority: Authority) -> Iterator[Provider]:
    """Serves HTTP/1.1 only."""
    provider = Provider(authority.server_context(["http/1.1"])).start()
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def provider_plain() -> Iterator[Provider]:
    """Serves plain HTTP, without TLS."""
    provider = Provider(None).start()
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def names(provider_http2: Provider, provider_http1: Provider, provider_plain: Provider) -> dict[str, Provider]:
    """Which "name:port" reaches which provider."""
    table = {f"{name}:443": provider_http2 for name in HTTP2_NAMES}
    return table | {f"{name}:443": provider_http1 for name in HTTP1_NAMES} | {"plain.example:80": provider_plain}


@pytest.fixture
def provider(provider_http2: Provider) -> Provider:
    """The provider of OpenAI's, Anthropic's and Google's names, its memory empty."""
    provider_http2.clear()
    return provider_http2


@pytest.fixture
def provider1(provider_http1: Provider) -> Provider:
    """The HTTP/1.1 provider (api.groq.com, and hosts that are no LLM's), its memory empty."""
    provider_http1.clear()
    return provider_http1


@pytest.fixture
def plain(provider_plain: Provider) -> Provider:
    """The provider without TLS (http://plain.example), its memory empty."""
    provider_plain.clear()
    return provider_plain


type MakeMesh = Callable[..., Mesh]


def reachable(names: dict[str, Provider]) -> str:
    """An egress.yaml that lets the proxy reach fake hosts that are no LLM's: they are on loopback here."""
    return "allow: [{}]\n".format(", ".join(sorted({f"127.0.0.1:{provider.port}" for provider in names.values()})))


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority) -> Iterator[Mesh]:
    """One mitmesh with the shipped rules, for tests that change nothing about it."""
    folder = tmp_path_factory.mktemp("mesh")
    local = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names)}
    mesh = Mesh(folder, resolve=names, trust=authority.ca, local=local).start()
    yield mesh
    mesh.stop()


@pytest.fixture
def make_mesh(tmp_path: Path, names: dict[str, Provider], authority: Authority) -> Iterator[MakeMesh]:
    """Makes (and does not start) a mitmesh of a test's own: `make_mesh(local={...}, options=[...]).start()`."""
    made: list[Mesh] = []

    def make(**settings: Any) -> Mesh:
        folder = settings.pop("folder", tmp_path / f"mesh{len(made)}")
        settings["local"] = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names), **settings.get("local", {})}
        made.append(Mesh(folder, **{"resolve": names, "trust": authority.ca, **settings}))
        return made[-1]

    yield make
    for mesh in made:
        if mesh.process is not None and mesh.process.poll() is None:
            mesh.kill9()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, mesh: Mesh) -> Way:
    """Each way to a provider through mitmesh."""
    return mesh.way(request.param)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each SDK and call."""
    kind: Kind = request.param
    return kind


@pytest.fixture(params=[False, True], ids=["json", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    """Is the answer streamed?"""
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["text", "tools"])
def tools(request: pytest.FixtureRequest) -> bool:
    """Is a tool offered (and then called)?"""
    return bool(request.param)
