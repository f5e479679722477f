"""The cache with real SDKs over real sockets: what is answered again, to whom, and in which form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from e2e.certs import Authority
from e2e.conftest import reachable
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider
from e2e.replies import COMPLETION, PROMPT, TEXT
from e2e.sdks import Kind, Way, ask

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cached(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority
) -> Iterator[Mesh]:
    """One mitmesh with the cache on."""
    local = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names), "cache.yaml": "exact: true\n"}
    mesh = Mesh(tmp_path_factory.mktemp("cached"), resolve=names, trust=authority.ca, local=local).start()
    yield mesh
    mesh.stop()


@pytest.fixture
def way(cached: Mesh, request: pytest.FixtureRequest) -> Way:
    """A way through it on which nothing was asked yet: a header that nobody knows is part of what must be equal."""
    return replace(cached.way("forward-h1"), headers=(("x-test", request.node.name),))


@pytest.mark.parametrize("first", [False, True], ids=["json", "stream"])
def test_hit_in_the_form_asked_for(kind: Kind, way: Way, provider: Provider, cached: Mesh, first: bool) -> None:
    """The same call again is answered without the provider, as JSON or as a stream whatever the first was: the text
    and usage SDKs read are the first one's, and nothing was used."""
    miss = ask(kind, way, stream=first)
    assert miss.headers["x-mesh-cache"] == "miss"
    gate = replace(cached.way("gateway"), headers=way.headers)
    for stream, through in [(False, way), (True, way), (first, gate)]:
        hit = ask(kind, through, stream=stream)
        assert (hit.text, hit.prompt, hit.completion) == (TEXT, PROMPT, COMPLETION)
        told = {name: hit.headers.get(f"x-mesh-{name}") for name in ("cache", "tokens", "cost-usd", "origin")}
        assert told == {"cache": "exact", "tokens": "0", "cost-usd": "0.000000", "origin": "cache"}
    assert len(provider.calls) == 1
