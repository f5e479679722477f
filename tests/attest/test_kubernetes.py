"""The watch against a server that speaks the real protocol over TLS."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from attest.apiserver import TOKEN, ApiServer, running
from attest.pods import pod
from e2e.certs import Authority, make_authority
from mitmesh.attest.kubernetes import PodWatch

IP, OTHER = "10.0.0.5", "10.0.0.6"
FAST = (0.01, 0.05)


@dataclass
class Rule:
    server: str
    ca: str
    token: str
    namespace: str | None = None
    node: str | None = None
    team_label: str | None = None
    pods: int = 1000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"), ["127.0.0.1"])


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[ApiServer]:
    async with running(authority) as found:
        yield found


@pytest.fixture
def rule(server: ApiServer, authority: Authority, tmp_path: Path) -> Rule:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    return Rule(server.url, str(authority.ca), str(token))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever happens, neither a token nor what an error's body says is logged."""
    caplog.set_level(logging.DEBUG)
    yield
    for secret in (TOKEN, "second-token", "body-of-an-error"):
        assert secret not in caplog.text


@asynccontextmanager
async def watching(rule: Rule, **more: Any) -> AsyncIterator[PodWatch]:
    watch = PodWatch(rule, **{"backoff": FAST, **more})
    await watch.start()
    try:
        yield watch
    finally:
        await watch.stop()
        assert watch.find(IP) is None


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def name(watch: PodWatch, ip: str = IP) -> str | None:
    found = watch.find(ip)
    return found.name if found else None


async def test_list_then_watch(server: ApiServer, rule: Rule) -> None:
    """What was there, what comes, what changes, what goes."""
    rule.team_label = "team"
    server.put(pod("web", IP, "fd00::5", account="seller", labels={"team": "shop", "x": "y"}))
    async with watching(rule) as watch:
        await until(lambda: watch.find("fd00::5"))
        found = watch.find(IP)
        assert found
        assert (found.namespace, found.name, found.service_account) == ("shop", "web", "seller")
        assert found.labels == {"team": "shop"}
        server.put(pod("new"))
        server.put(pod("new", OTHER))
        await until(lambda: name(watch, OTHER) == "new")
        server.delete("uid-of-web")
        await until(lambda: name(watch) is None)
        health = watch.health()
        assert (health["in_sync"], health["pods"]) == (True, 1)
        assert health["last_heard_seconds"] < 60 and "problem" not in health
    (asked,) = server.watches
    assert asked["allowWatchBookmarks"] == "true" and 30 <= int(asked["timeoutSeconds"]) <= 39
    assert asked["resourceVersion"] == "1001" and asked["token"] == f"Bearer {TOKEN}"


async def test_pages(server: ApiServer, rule: Rule) -> None:
    for number in range(7):
        server.put(pod(f"p{number}", f"10.0.1.{number}"))
    async with watching(rule, page=3) as watch:
        await until(lambda: watch.health()["in_sync"])
        assert [name(watch, f"10.0.1.{number}") for number in range(7)] == [f"p{number}" for number in range(7)]
    assert [("continue" in each, each["limit"]) for each in server.lists] == [(False, "3"), (True, "3"), (True, "3")]


async def test_pages_that_are_gone(server: ApiServer, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that took too long begins anew, and nothing of the first attempt stays."""
    for number in range(4):
        server.put(pod(f"p{number}", f"10.0.1.{number}"))
    right = server._list

    def late(request: web.Request, asked: dict[str, str]) -> web.Response:
        if "continue" in asked and len(server.lists) == 2:
            server.delete("uid-of-p0")
            server.compact()
        return right(request, asked)

    monkeypatch.setattr(server, "_list", late)
    async with watching(rule, page=2) as watch:
        await until(lambda: watch.health()["in_sync"])
        assert (name(watch, "10.0.1.0"), name(watch, "10.0.1.3")) == (None, "p3")
    assert len(server.lists) == 4


async def test_namespace_and_node(server: ApiServer, rule: Rule) -> None:
    rule.namespace, rule.node = "shop", "node-1"
    server.put(pod("mine", IP))
    server.put(pod("other", OTHER, namespace="bank"))
    server.put(pod("away", "10.0.0.7", node="node-2"))
    async with watching(rule) as watch:
        await until(lambda: name(watch))
        assert watch.health()["pods"] == 1
        await until(lambda: server.watches)
    for asked in (server.lists[0], server.watches[0]):
        assert (asked["path"], asked["fieldSelector"]) == ("/api/v1/namespaces/shop/pods", "spec.nodeName=node-1")


async def test_a_cut_watch_goes_on_where_it_was(server: ApiServer, rule: Rule) -> None:
    """Nothing is missed, and nothing listed anew."""
    server.put(pod("old", IP))
    async with watching(rule) as watch:
        await until(lambda: server._watches)
        for number in range(5):
            server.cut()
            server.put(pod(f"p{number}", f"10.0.1.{number}"))
            await until(lambda number=number: name(watch, f"10.0.1.{number}"))
        assert name(watch) == "old"
    assert len(server.lists) == 1 and len(server.watches) >= 6


async def test_bookmarks_spare_a_new_list(server: ApiServer, rule: Rule) -> None:
    """The watch goes on at the bookmark, where history is still kept."""
    server.put(pod("old", IP))
    rule.namespace = "shop"
    async with watching(rule) as watch:
        await until(lambda: server._watches)
        server.put(pod("elsewhere", OTHER, namespace="bank"))
        await server.bookmark()
        await until(lambda: watch._version == str(server.version))
        server.compact()
        server.cut()
        await until(lambda: len(server.watches) == 2)
        server.put(pod("new", OTHER))
        await until(lambda: name(watch, OTHER) == "new")
    assert len(server.lists) == 1
    assert server.watches[1]["resourceVersion"] == "1002"


@pytest.mark.parametrize("in_stream", [True, False])
async def test_gone_lists_anew(server: ApiServer, rule: Rule, in_stream: bool) -> None:
    """Whichever way 410 is said: what went in the meantime is gone, and a reused address is the new pod's."""
    server.gone_in_stream = in_stream
    server.put(pod("old", IP))
    server.put(pod("gone", OTHER))
    async with watching(rule) as watch:
        await until(lambda: server._watches)
        server.refuse = [web.Response(status=503) for _ in range(2)]
        server.cut()
        server.delete("uid-of-gone")
        server.delete("uid-of-old")
        server.put(pod("new", IP))
        server.compact()
        await until(lambda: name(watch) == "new")
        assert name(watch, OTHER) is None
        await until(lambda: len(server.watches) >= 2)
    assert len(server.lists) >= 2


async def test_a_quiet_cluster_is_not_a_dead_one(server: ApiServer, rule: Rule) -> None:
    """Watches end and begin in time for nobody to be forgotten, and only once is listed."""
    server.put(pod("old", IP))
    async with watching(rule, stale_seconds=2.5) as watch:
        await until(lambda: name(watch))
        seen = set()
        while len(server.watches) < 4:
            seen.add(name(watch))
            await asyncio.sleep(0.01)
        assert seen == {"old"}
    assert len(server.lists) == 1


@pytest.mark.parametrize("how", ["hang", "away"])
async def test_too_long_silence_answers_nobody(
    server: ApiServer, rule: Rule, authority: Authority, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And when the server is there again, so are the pods."""
    server.put(pod("old", IP))
    async with watching(rule, stale_seconds=1.5) as watch:
        await until(lambda: name(watch))
        if how == "hang":
            server.hang = True
        else:
            await server.stop()
        assert name(watch) == "old"
        await until(lambda: name(watch) is None)
        health = watch.health()
        assert health["in_sync"] is False and "pods are not known" in health["problem"]
        server.hang = False
        if how == "away":
            assert "cannot be reached" in health["problem"]
            server.delete("uid-of-old")
            server.put(pod("new", IP))
            await server.start(authority, int(rule.server.rpartition(":")[2]))
        await until(lambda: name(watch) == ("old" if how == "hang" else "new"))
    assert caplog.text.count("cannot be reached") == (how == "away"), "each problem is logged once"


async def test_a_server_that_is_away_at_the_start(rule: Rule, authority: Authority) -> None:
    """Starting does not wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    rule.server = f"https://127.0.0.1:{port}"
    async with watching(rule) as watch:
        await until(lambda: "cannot be reached" in watch.health().get("problem", ""))
        assert watch.find(IP) is None
        late = ApiServer()
        late.put(pod("web", IP))
        await late.start(authority, port)
        await until(lambda: name(watch) == "web")
        await late.stop()


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "not taken"), (403, "get, list and watch"), (404, "API server"), (500, "500")]
)
async def test_refusals(server: ApiServer, rule: Rule, status: int, hint: str) -> None:
    """Each says what to do, and is not for good."""
    server.put(pod("web", IP))
    refusal = web.json_response({"message": "body-of-an-error"}, status=status)
    server.refuse = [refusal]
    async with watching(rule, backoff=(0.3, 0.3)) as watch:
        await until(lambda: hint in watch.health().get("problem", ""))
        await until(lambda: name(watch) == "web")


async def test_lists_without_watches(server: ApiServer, rule: Rule) -> None:
    """A role without `watch`: a list is believed for its time, and no longer."""
    server.put(pod("web", IP))
    server.refuse_watches = 403
    async with watching(rule, stale_seconds=1) as watch:
        await until(lambda: name(watch) == "web")
        await until(lambda: "get, list and watch" in watch.health().get("problem", ""))
        assert name(watch) is None
    assert len(server.lists) == 1


async def test_a_renewed_token(server: ApiServer, rule: Rule) -> None:
    """It is read again for each connection."""
    server.put(pod("web", IP))
    async with watching(rule) as watch:
        await until(lambda: server._watches)
        server.token = "second-token"
        server.cut()
        server.put(pod("new", OTHER))
        await until(lambda: len(server.watches) > 3)
        assert name(watch, OTHER) is None and name(watch) == "web"
        Path(rule.token).write_text("second-token")
        await until(lambda: name(watch, OTHER) == "new")
    assert len(server.lists) == 1


@pytest.mark.parametrize(
    ("file", "text", "hint"),
    [
        ("token", None, "No such file"),
        ("token", "", "holds no token"),
        ("token", "two\r\nlines", "holds no token"),
        ("ca", None, "No such file"),
        ("ca", "no certificate", "no PEM file"),
        ("ca", "", "no PEM file"),  # must not mean the system's CAs
        ("ca", "é", "no PEM file"),
    ],
)
async def test_files(server: ApiServer, rule: Rule, tmp_path: Path, file: str, text: str | None, hint: str) -> None:
    """A file that is missing or wrong is named; no request is made; put right, all goes on."""
    path, right = tmp_path / f"{file}.other", Path(getattr(rule, file)).read_text()
    if text is not None:
        path.write_text(text)
    setattr(rule, file, str(path))
    server.put(pod("web", IP))
    async with watching(rule) as watch:
        await until(lambda: hint in watch.health().get("problem", ""))
        assert str(path) in watch.health()["problem"] and not server.requests
        path.write_text(right)
        await until(lambda: name(watch) == "web")


async def test_a_comment_beside_the_certificate(server: ApiServer, rule: Rule, tmp_path: Path) -> None:
    """Bundles have them, in any encoding."""
    ca = tmp_path / "bundle.pem"
    ca.write_bytes("# Autorité".encode("latin-1") + b"\n" + Path(rule.ca).read_bytes())
    rule.ca = str(ca)
    server.put(pod("web", IP))
    async with watching(rule) as watch:
        await until(lambda: name(watch) == "web")


async def test_another_ca_is_not_believed(server: ApiServer, rule: Rule, tmp_path: Path) -> None:
    """The token never goes to a server whose certificate does not hold."""
    rule.ca = str(make_authority(tmp_path, ["127.0.0.1"]).ca)
    async with watching(rule) as watch:
        await until(lambda: "TLS fails" in watch.health().get("problem", ""))
    assert not server.requests


async def test_another_name_is_not_believed(server: ApiServer, rule: Rule) -> None:
    rule.server = rule.server.replace("127.0.0.1", "localhost")
    async with watching(rule) as watch:
        await until(lambda: "TLS fails" in watch.health().get("problem", ""))
    assert not server.requests


async def test_a_redirect_is_not_followed(server: ApiServer, rule: Rule) -> None:
    """The token stays where it belongs."""
    server.refuse = [web.Response(status=307, headers={"Location": f"{server.url}/api/v1/pods?elsewhere=1"})]
    async with watching(rule) as watch:
        await until(lambda: watch.health()["in_sync"])
    assert not [each for each in server.requests if "elsewhere" in each]


async def test_retry_after(server: ApiServer, rule: Rule) -> None:
    """A server that asks for time gets it."""
    server.refuse = [web.Response(status=429, headers={"Retry-After": "3"})]
    async with watching(rule) as watch:
        await until(lambda: "429" in watch.health().get("problem", ""))
        await asyncio.sleep(0.5)  # ten times the longest backoff
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        b"<html>secret\n", b"{}\n", b'{"type": "ADDED", "object": {}}\n', b"\xff\n",
        b'{"type": "ERROR", "object": {"code": 500, "message": "body-of-an-error"}}\n',
    ],
)  # fmt: skip
async def test_nonsense_in_a_watch(server: ApiServer, rule: Rule, said: bytes) -> None:
    """The watch is begun anew where it was; nothing is missed."""
    server.put(pod("web", IP))
    async with watching(rule) as watch:
        await until(lambda: server._watches)
        await server.say(said)
        await until(lambda: len(server.watches) == 2)
        server.put(pod("new", OTHER))
        await until(lambda: name(watch, OTHER) == "new")
        assert name(watch) == "web"
    assert len(server.lists) == 1


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"metadata": {}, "items": []}', b'{"metadata": {"resourceVersion": 5}}']
)
async def test_nonsense_in_place_of_a_list(server: ApiServer, rule: Rule, body: bytes) -> None:
    server.refuse = [web.Response(body=body)]
    server.put(pod("web", IP))
    async with watching(rule) as watch:
        await until(lambda: name(watch) == "web")
    assert len(server.lists) == 2


async def test_room(server: ApiServer, rule: Rule) -> None:
    """More pods than are remembered are a problem in health, until there is room and a new list."""
    rule.pods = 2
    for number in range(4):
        server.put(pod(f"p{number}", f"10.0.1.{number}"))
    async with watching(rule) as watch:
        await until(lambda: watch.health()["in_sync"])
        health = watch.health()
        assert health["in_sync"] and health["pods"] == 2
        assert "2 pods found no room: raise `pods` (2)" in health["problem"]
        await until(lambda: server._watches)
        for number in range(3):
            server.delete(f"uid-of-p{number}")
        await until(lambda: watch.health()["pods"] == 0)
        server.cut()
        await until(lambda: name(watch, "10.0.1.3") == "p3")
        assert "problem" not in watch.health()


async def test_waits_grow_and_differ(server: ApiServer, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """They double up to the longest, are cut at random by at most a half, and begin anew after a watch that held."""
    watch = PodWatch(rule, backoff=(1, 8))
    waits = [watch._failed("x") for _ in range(6)]
    for wait, most in zip(waits, [1, 2, 4, 8, 8, 8], strict=True):
        assert most / 2 <= wait <= most
    assert len({wait / most for wait, most in zip(waits[3:], [8] * 3, strict=True)}) > 1
    watch._failures = 10_000
    assert watch._failed("x") <= 8


async def test_a_bug_is_told(server: ApiServer, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that ended by an exception nobody foresaw is a problem at once, and nobody is answered when it is old."""
    server.put(pod("web", IP))
    async with watching(rule, stale_seconds=1) as watch:
        await until(lambda: server._watches)

        def broken(_: object) -> str:
            raise KeyError("bug")

        monkeypatch.setattr(watch._table, "event", broken)
        await server.bookmark()
        await until(lambda: "ended by a bug" in watch.health().get("problem", ""))
        await until(lambda: name(watch) is None)
