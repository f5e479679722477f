"""A stand-in for addons/stack.py: the options, ports and run.json of the engine, and nothing else of it.

`MESH_FAKE` says how it behaves: `unready`, `crash` (at start), or empty for well.
"""

import asyncio
import json
import os
import sqlite3
import sys
from pathlib import Path

from mitmproxy import ctx

BEHAVIOUR = os.environ.get("MESH_FAKE", "")
NAMES = ("mesh_listen", "mesh_gateway", "mesh_control")


class Fake:
    def load(self, loader):
        for name in (*NAMES, "mesh_data", "mesh_rules"):
            loader.add_option(name, str, "", name)
        loader.add_option("mesh_demo", bool, False, "demo")

    async def running(self):
        if BEHAVIOUR == "crash":
            sys.stderr.write("fake: no such rule\n")
            sys.stderr.flush()
            os._exit(3)
        data = Path(ctx.options.mesh_data)
        for name in ("audit.db", "content.db"):
            sqlite3.connect(data / name).execute("create table if not exists exchanges (id text)").connection.close()
        places = [await self.listen(getattr(ctx.options, name)) for name in NAMES]
        run = {"pid": os.getpid(), **dict(zip(("proxy", "gateway", "control"), places, strict=True))}
        (data / "run.json").write_text(json.dumps(run))
        seen = {name: getattr(ctx.options, name) for name in ("server", "flow_detail", "tcp_timeout", "mesh_demo")}
        seen["environment"] = sorted(os.environ)
        (data / "seen.json").write_text(json.dumps(seen))

    async def listen(self, spec):
        host, _, port = spec.rpartition(":")
        server = await asyncio.start_server(self.answer, host, int(port))
        host, port = server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def answer(self, reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.CancelledError):  # gone, or we are to end
            return writer.close()
        status, body = (503, b"stage commit: no room") if BEHAVIOUR == "unready" else (200, b"{}")
        writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(body), body))
        return writer.close()


addons = [Fake()]
