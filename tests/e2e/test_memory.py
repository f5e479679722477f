"""Nothing of a call stays when it has ended: not in memory, not in any table."""

from __future__ import annotations

import json
import re
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import MakeMesh
from e2e.mesh import Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.sdks import KEY

COUNTER = '''
"""On SIGUSR1, write what is still held into counts.json."""
import asyncio, gc, json, signal
from pathlib import Path
from mitmproxy import ctx, http
from mitmesh.exchange import Exchange

def count():
    engine = ctx.master.addons.get("mitmesh")
    calls, connections = engine.calls, engine.connections
    held = {"open": calls.open, "of_client": calls._of_client, "settling": calls._settling,
            "waiting": calls.house.loopback._waiting, "bound": connections._bound, "pinned": connections._pinned,
            "handlers": ctx.master.addons.get("proxyserver").connections}
    found = {name: len(things) for name, things in held.items()}
    gc.collect()
    objects = gc.get_objects()
    for kind in (Exchange, http.HTTPFlow):
        found[kind.__name__] = sum(type(thing) is kind for thing in objects)
    Path(ctx.options.mesh_data).joinpath("counts.json").write_text(json.dumps(found))

async def running():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, count)
'''

GROWTH = 8
"""Megabytes that 2,000 calls may add once caches, SQLite's pages and the allocator's own have filled: one of 4 kB that
each call leaves behind is too much."""
SMALL = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
LARGE = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "some words " * 6500}]}
STREAM = {**SMALL, "stream": True}


def megabytes(mesh: Mesh) -> float:
    """Resident memory of the process."""
    assert mesh.process is not None
    status = Path(f"/proc/{mesh.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def held(mesh: Mesh) -> dict[str, int]:
    """What the process still holds, by its own account."""
    assert mesh.process is not None
    file = mesh.data / "counts.json"
    file.unlink(missing_ok=True)
    mesh.process.send_signal(signal.SIGUSR1)
    text = wait_for(lambda: file.exists() and file.read_text(), "counts")
    return dict(json.loads(text or "{}"))


def call(mesh: Mesh, provider: Provider, rounds: int) -> None:
    """Calls of every size and end from four clients at once, each on its own connections."""

    def work(number: int) -> None:
        way = mesh.way(("gateway", "forward-h1", "forward-h2", "gateway")[number])
        url = (way.base or "https://api.openai.com") + "/v1/chat/completions"
        headers = {"authorization": f"Bearer {KEY}"}
        for n in range(rounds):
            with way.client(httpx, [], asynchronous=False) as client:
                for body in (SMALL, LARGE, STREAM, {**STREAM, "messages": LARGE["messages"]}, SMALL):
                    assert client.post(url, json=body, headers=headers).status_code == 200
                assert client.post(url, content=b"no JSON", headers=headers).status_code == 400
                with client.stream("POST", url, json=STREAM, headers=headers) as answer:
                    if n % 2:
                        next(answer.iter_raw())  # the client leaves
                    else:
                        answer.read()
        done.append(number)

    done: list[int] = []
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert sorted(done) == [0, 1, 2, 3]
    provider.clear()


@pytest.fixture
def counted(tmp_path: Path) -> list[str]:
    """Options that load the counter."""
    script = tmp_path / "counter.py"
    script.write_text(COUNTER)
    return ["-s", str(script)]


def is_empty(mesh: Mesh) -> bool:
    """Is nothing held any more?"""
    return not any(held(mesh).values())


def test_nothing_is_left(make_mesh: MakeMesh, counted: list[str], provider: Provider) -> None:
    """After calls that were answered, refused, cut, left by their client or not possible, every table is empty."""
    mesh = make_mesh(options=counted).start()
    headers: dict[str, Any] = {"authorization": f"Bearer {KEY}"}
    scripts = [Script(), Script(cut=2), Script(reset=2), Script(refuse=True), Script(body=b"<html>")]
    for name in ("gateway", "forward-h1", "forward-h2"):
        way = mesh.way(name)
        for script in scripts:
            provider.script(script)
            with way.client(httpx, [], asynchronous=False) as client:
                try:
                    url = (way.base or "https://api.openai.com") + "/v1/chat/completions"
                    client.post(url, json=STREAM, headers=headers)
                except httpx.HTTPError:
                    assert script is not scripts[0]
            provider.clear()
    call(mesh, provider, 1)
    wait_for(lambda: is_empty(mesh), "empty tables", 5)
    assert b"mesh_open_exchanges 0.0" in mesh.control("/metrics")
    rows = "select count(*) as n from exchanges where outcome is null"
    wait_for(lambda: mesh.rows(rows) == [{"n": 0}], "finished rows")


def test_demo_leaves_nothing(make_mesh: MakeMesh, counted: list[str]) -> None:
    """So it is with answers of our own, streamed to the end or not."""
    mesh = make_mesh(options=[*counted, "--set", "mesh_demo=true"]).start()
    for n in range(4):
        with (
            httpx.Client(trust_env=False) as client,
            client.stream("POST", f"{mesh.gateway}/v1/chat/completions", json=STREAM) as answer,
        ):
            pieces = answer.iter_raw()
            next(pieces)
            if n == 0:
                assert list(pieces)
    wait_for(lambda: is_empty(mesh), "empty tables", 5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory(make_mesh: MakeMesh, counted: list[str], provider: Provider) -> None:
    """Thousands of calls, small, large and streamed, leave no memory behind."""
    mesh = make_mesh(options=counted).start()
    call(mesh, provider, 120)  # of seven calls from four clients
    before = megabytes(mesh)
    call(mesh, provider, 72)
    after = megabytes(mesh)
    print(f"memory: {before:.0f} MB, then {after:.0f} MB")
    assert after - before < GROWTH
    wait_for(lambda: is_empty(mesh), "empty tables", 5)
