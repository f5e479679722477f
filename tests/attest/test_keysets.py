"""Issuers' keys over HTTPS, from a server of ours with a CA of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import certifi
import pytest
from aiohttp import web
from joserfc.jwk import ECKey, RSAKey

from attest.clock import Clock
from e2e.certs import Authority, make_authority
from mitmesh.attest.keysets import AGAIN, LARGEST, OLD, STALE, KeySets, KeysUnavailable


class Issuer:
    """Serves whatever `text` and `status` say, and counts how often it was asked; `hang` makes it answer nothing."""

    def __init__(self) -> None:
        self.text, self.status, self.asked, self.hang, self.url = "", 200, 0, False, ""

    def has(self, *keys: Any) -> None:
        """Let these be its keys."""
        self.text = json.dumps({"keys": [key.as_dict(private=False) for key in keys]})

    async def answer(self, request: web.Request) -> web.Response:
        """Whatever it is to say."""
        self.asked += 1
        if self.hang:
            await asyncio.sleep(60)
        headers = {"location": f"{self.url}/elsewhere"} if self.status == 302 else {}
        return web.Response(text=self.text, status=self.status, headers=headers)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("issuer"), ["127.0.0.1"])


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[Issuer]:
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/{rest:.*}", issuer.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context(["http/1.1"]))
    await site.start()
    host, port = runner.addresses[0][:2]
    issuer.url = f"https://{host}:{port}"
    yield issuer
    await runner.cleanup()


def key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid})


def held(authority: Authority, issuer: Issuer, clock: Clock) -> tuple[KeySets, str]:
    source = f"{issuer.url}/jwks.json"
    keysets = KeySets(str(authority.ca), clock)
    keysets.configure({source: None})
    return keysets, source


def kids(keys: Any) -> list[str]:
    return [each.kid for each in keys.keys]


async def test_over_https(authority: Authority, server: Issuer) -> None:
    """They are read once and kept; where one is missing they are read again, at most every AGAIN seconds."""
    clock = Clock()
    keysets, source = held(authority, server, clock)
    server.has(key("a"))
    first = await keysets.get(source)
    assert kids(first) == ["a"] and await keysets.get(source) is first and server.asked == 1
    server.has(key("b"))
    assert await keysets.get(source, anew=True) is first and server.asked == 1
    clock.now = AGAIN + 1
    assert kids(await keysets.get(source, anew=True)) == ["b"] and server.asked == 2


async def test_a_ca_of_its_own(authority: Authority, server: Issuer) -> None:
    """An issuer behind a company's CA is trusted by the file it names, and by that alone; another file is a new try."""
    server.has(key("a"))
    source, clock = f"{server.url}/jwks.json", Clock()
    keysets = KeySets(None, clock)
    keysets.configure({source: None})
    with pytest.raises(KeysUnavailable, match="cannot be read"):
        await keysets.get(source)
    keysets.configure({source: str(authority.ca)})
    first = await keysets.get(source)
    assert kids(first) == ["a"]
    keysets.configure({source: str(authority.ca)})
    assert await keysets.get(source) is first
    keysets.configure({source: certifi.where()})
    with pytest.raises(KeysUnavailable):
        await keysets.get(source)
    assert server.asked == 1


async def test_tried_again_when_the_rules_change(authority: Authority, server: Issuer) -> None:
    """What could not be read is read at once when an operator changed something."""
    keysets, source = held(authority, server, Clock())
    server.status = 500
    for _ in range(2):
        with pytest.raises(KeysUnavailable):
            await keysets.get(source)
    server.has(key("a"))
    server.status = 200
    keysets.configure({source: None})
    assert kids(await keysets.get(source)) == ["a"] and server.asked == 2


async def test_a_large_set(authority: Authority, server: Issuer) -> None:
    """It comes in several pieces."""
    keysets, source = held(authority, server, Clock())
    server.has(*[key(f"{n:04}" * 20) for n in range(500)])
    assert 100_000 < len(server.text) < LARGEST and len(kids(await keysets.get(source))) == 500


async def test_a_key_that_was_withdrawn(authority: Authority, server: Issuer) -> None:
    """After OLD seconds they are read in the background: no call waits for it, and then the key is gone."""
    clock = Clock()
    keysets, source = held(authority, server, clock)
    server.has(key("a"), key("b"))
    before = await keysets.get(source)
    server.has(key("b"))
    clock.now = OLD + 1
    assert await keysets.get(source) is before
    async with asyncio.timeout(10):
        while kids(await keysets.get(source)) != ["b"]:
            await asyncio.sleep(0.01)
    assert server.asked == 2


async def test_an_issuer_that_hangs_keeps_nobody_waiting(authority: Authority, server: Issuer) -> None:
    """The keys that are known serve meanwhile, for a day."""
    clock = Clock()
    keysets, source = held(authority, server, clock)
    server.has(key("a"))
    before = await keysets.get(source)
    server.hang = True
    clock.now = OLD + 1
    async with asyncio.timeout(2):
        for _ in range(5):
            assert await keysets.get(source) is before
    clock.now = STALE + 1
    with pytest.raises(KeysUnavailable):
        await keysets.get(source)
    await keysets.stop()


@pytest.mark.parametrize(
    ("status", "text", "why"),
    [
        (500, "", "HTTP 500"),
        (302, "", "HTTP 302"),
        (200, "<html>", "cannot be read"),
        (200, '{"keys": []}', "no key that signs"),
        (200, '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "no key that signs"),
        (200, " " * (LARGEST + 1), f"more than {LARGEST} bytes"),
    ],
)
async def test_what_is_no_key_set(authority: Authority, server: Issuer, status: int, text: str, why: str) -> None:
    """Nobody is believed by it, and health says what is wrong."""
    keysets, source = held(authority, server, Clock())
    server.status, server.text = status, text
    with pytest.raises(KeysUnavailable, match=why):
        await keysets.get(source)
    assert why in keysets.health()[source]
    (problem,) = keysets.problems()
    assert source in problem and why in problem and problem.endswith("calls with its tokens are refused")


async def test_read_ahead(authority: Authority, server: Issuer) -> None:
    """What cannot be read is told before any token comes; a set that was read before serves for a while."""
    clock = Clock()
    keysets, source = held(authority, server, clock)
    server.has(key("a"))
    keysets.read_ahead()
    async with asyncio.timeout(10):
        while keysets.health()[source] != "0 s old":
            await asyncio.sleep(0.01)
    assert keysets.problems() == []
    server.status, clock.now = 500, 3600
    assert kids(await keysets.get(source, anew=True)) == ["a"]
    (problem,) = keysets.problems()
    assert "HTTP 500" in problem and problem.endswith("good for 23.0 h more")
    server.status, clock.now = 200, 7200
    await keysets.get(source, anew=True)
    assert keysets.problems() == [] and server.asked == 3


GOOD = key("good").as_dict(private=False)
RSA = RSAKey.generate_key(2048).as_dict(private=False)


@pytest.mark.parametrize(
    "odd",
    [
        {"kty": "EC", "crv": "brainpoolP256r1", "x": "AA", "y": "AA", "kid": "b"},
        {"kty": "OKP", "crv": "Foo", "x": "AA", "kid": "b"},
        {**RSA, "kid": 5},
        {**RSA, "e": "AQ"},
        {"kty": "RSA"},
        RSAKey.generate_key(1024, {"kid": "short"}).as_dict(private=False),
        "text",
        None,
    ],
)
async def test_one_odd_key(
    authority: Authority, server: Issuer, caplog: pytest.LogCaptureFixture, odd: dict[str, Any]
) -> None:
    """A key that cannot be used is left out, and the log says so, once; the others are good. Alone, health says it."""
    clock = Clock()
    keysets, source = held(authority, server, clock)
    server.text = json.dumps({"keys": [odd, GOOD]})
    assert kids(await keysets.get(source)) == ["good"]
    clock.now = AGAIN + 1
    await keysets.get(source, anew=True)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "1 of the set cannot be used" in line and str(RSA["n"]) not in line and server.asked == 2
    server.text = json.dumps({"keys": [odd]})
    keysets.configure({})
    keysets.configure({source: None})
    with pytest.raises(KeysUnavailable, match="no key that signs; 1 cannot be used"):
        await keysets.get(source)


@pytest.mark.parametrize(
    "more", [{"x5c": ["?"], "x5u": "", "issuer": "https://x", "nbf": 1}, {"alg": None, "use": None}, {"d": "AA"}]
)
async def test_what_else_a_key_says(authority: Authority, server: Issuer, more: dict[str, Any]) -> None:
    """Members that are not needed, and those that are null, do not keep a key from being used."""
    keysets, source = held(authority, server, Clock())
    server.text = json.dumps({"keys": [{**RSA, "kid": "r", **more}, {"kty": "oct", "k": "AA"}, {**RSA, "use": "enc"}]})
    assert kids(await keysets.get(source)) == ["r"]


async def test_a_server_that_nobody_vouches_for(server: Issuer) -> None:
    """Its certificate must be of a CA that is trusted."""
    source = f"{server.url}/jwks.json"
    keysets = KeySets()
    keysets.configure({source: None})
    server.has(key("a"))
    with pytest.raises(KeysUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await keysets.get(source)
    assert server.asked == 0
