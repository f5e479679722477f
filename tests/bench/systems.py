"""The processes that are compared: bare mitmdump, bare mitmdump that streams, the suite; and their upstream."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitmesh.launch import ROOT, LaunchError, command, ports, ready
from mitmesh.launch.children import Children

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).parent
STREAMING = "def responseheaders(flow):\n    flow.response.stream = True\n"
"""Bare mitmdump holds a stream until its end; with these lines it passes it on as it comes."""
ANSWERING = """
from mitmproxy import http
from upstream import ANSWER
head, _, body = ANSWER.partition(b"\\r\\n\\r\\n")
def request(flow):
    flow.response = http.Response.make(200, body, {"content-type": "application/json", "x-request-id": "req_bench"})
"""
"""With these lines bare mitmdump answers by itself: the most that a cache could give."""

LOCAL_RULES = {
    "mesh.yaml": "audit: {{content: full, text: raw}}\n",  # everything is stored, redaction or not
    # Small, so that they are full before memory is measured: what grows then grows for ever.
    "cache.yaml": "memory_bytes: 2000000\n",
    "pii.yaml": "finder: {{memory_bytes: 1000000}}\n",
    "routes.yaml": "providers:\n  openai: {{base_url: 'http://127.0.0.1:{upstream}'}}\n",
}


@dataclass(frozen=True)
class Process:
    """One of the processes compared, listening on 127.0.0.1:port."""

    name: str
    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of CPU time since it began, all its threads; in steps of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of memory it holds (RSS)."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Systems:
    """All that are compared; all kinds of bare mitmdump have the same options."""

    bare: Process
    streaming: Process
    answering: Process
    suite: Process


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Systems]:
    """Start all with their state in `folder`; end them afterwards. Raises LaunchError with what they said."""
    children = Children()
    upstream = ports.free()
    streams, answers = folder / "streaming.py", folder / "answering.py"
    streams.write_text(STREAMING)
    answers.write_text(ANSWERING)
    (folder / "upstream.py").write_bytes((HERE / "upstream.py").read_bytes())
    try:
        await children.start("upstream", [sys.executable, str(HERE / "upstream.py"), str(upstream)], quiet=True)
        await _until(children, ready.port(upstream))
        bare = await _bare(children, "bare", upstream, folder)
        streaming = await _bare(children, "streaming", upstream, folder, "-s", str(streams))
        answering = await _bare(children, "answering", upstream, folder, "-s", str(answers))
        yield Systems(bare, streaming, answering, await _suite(children, upstream, folder / "suite"))
    except LaunchError as error:
        names = ("upstream", "bare", "streaming", "answering", "suite")
        said = [line for name in names for line in children.last_lines(name)]
        raise LaunchError("\n".join([*said, str(error)])) from None
    finally:
        await children.end()


async def _bare(children: Children, name: str, upstream: int, folder: Path, *rest: str) -> Process:
    port = ports.free()
    mode = f"reverse:http://127.0.0.1:{upstream}@127.0.0.1:{port}"
    options = [f"confdir={folder / 'ca'}", "flow_detail=0", *_conf()]
    sets = [part for option in options for part in ("--set", option)]
    pid = await children.start(name, [sys.executable, "-c", command.ENTRY, "--mode", mode, *sets, *rest], quiet=True)
    await _until(children, ready.port(port))
    return Process(name, pid, port)


def _conf() -> Iterator[str]:
    """mitm.conf's options, which the suite runs with."""
    for name, values in command.read_conf(ROOT / "mitm.conf").items():
        yield from (f"{name}={value}" for value in values)


async def _suite(children: Children, upstream: int, home: Path) -> Process:
    """As scripts/run starts it, but for rules of its own."""
    (home / "ca").mkdir(mode=0o700, parents=True)
    rules = home / "rules"
    shutil.copytree(ROOT / "rules", rules, ignore=lambda _, names: ["local"] if "local" in names else [])
    (rules / "local").mkdir()
    for file, text in LOCAL_RULES.items():
        (rules / "local" / file).write_text(text.format(upstream=upstream))
    free = {"--port": 0, "--gateway-port": 0, "--control-port": 0}
    conf = command.read_conf(ROOT / "mitm.conf")
    pid = await children.start(
        "suite", command.mitmdump(home, free, False, conf, ["--set", f"mesh_rules={rules}"]), quiet=True
    )
    gateway = (await _until(children, ready.engine(home, pid)))["gateway"]
    return Process("suite", pid, int(gateway.rpartition(":")[2]))


async def _until[T](children: Children, up: Awaitable[T]) -> T:
    """Wait for what a child does when it is up. Raises LaunchError as soon as any of them has ended."""
    waiting = asyncio.ensure_future(up)
    both: set[asyncio.Future[Any]] = {waiting, children.ended}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if children.ended.done():
        waiting.cancel()
        name, code = children.ended.result()
        raise LaunchError(f"{name} ended by itself (exit code {code})")
    return waiting.result()
