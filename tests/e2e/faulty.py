"""Loaded with `-s` before the stack: stages that fail as a call asks them to, and a record of every finish().

A call's header `x-fault: guard:request:raise` says which stage fails in which hook, and how: raise, hang (request
only), wait (in a hook of the answer: for the file MESH_TEST_GATE, holding up all) or cancel. `connection` and `health`
know no call: they fail where MESH_TEST_FAULTS lists "stage:connection:host" or "stage:health". Stages that do not exist
yet are stood in for. The first stage to see finish() appends a line to the file MESH_TEST_FINISHED: id, traceparent,
outcome.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "addons"))

from mitmesh.catalog import CATALOG, Site
from mitmesh.dialects.base import Event
from mitmesh.exchange import Connection, Exchange
from mitmesh.stage import ORDER, RETURN, Stage

SECRET = "the-words-of-a-caller-4711"
FAULTS = os.environ.get("MESH_TEST_FAULTS", "").split(",")
ANSWERING = ("response_start", "response", "finish", "stream", "needs_settling")
FINISHED = os.environ.get("MESH_TEST_FINISHED", "")
GATE = os.environ.get("MESH_TEST_GATE", "")


def fault(x: Exchange, stage: str, hook: str) -> str:
    """How this stage is to fail in this hook; empty where it is not."""
    name, _, rest = x.sent_headers.get("x-fault", "").partition(":")
    asked, _, how = rest.partition(":")
    return how if (name, asked) == (stage, hook) else ""


def fail(how: str) -> None:
    """Fail, with a text that must not get out."""
    if how == "cancel":
        raise asyncio.CancelledError(SECRET)
    if how:
        raise RuntimeError(f"cannot cope with {SECRET}")


class Unsteady:
    """A transform that passes everything but fails where asked to; from its third event on, so that some text is
    out."""

    def __init__(self, x: Exchange, stage: str) -> None:
        self.x, self.stage, self.seen = x, stage, 0

    def event(self, event: Event, doc: Any) -> Sequence[Event] | None:
        self.seen += 1
        if self.seen > 2:
            fail(fault(self.x, self.stage, "event"))
        return None

    def end(self) -> Sequence[Event]:
        fail(fault(self.x, self.stage, "end"))
        return ()


def unsteady(name: str, make: Callable[[Site], Stage] | None) -> Callable[[Site], Stage]:
    """A stage of that name that can fail in every hook, before it does what it else does."""

    def build(site: Site) -> Stage:
        stage = make(site) if make else Stage()
        real: Any = type(stage)
        methods: dict[str, Any] = {hook: _answering(name, hook, getattr(real, hook)) for hook in ANSWERING}
        methods |= {"request": _requesting(name, real.request), "connection": _connecting(name, real.connection)}
        methods |= {"health": _healthy(name, real.health), "name": name}
        # The engine asks a class which hooks it has.
        stage.__class__ = type(real.__name__, (real,), methods)
        return stage

    return build


def _requesting(name: str, original: Any) -> Any:
    async def request(self: Stage, x: Exchange) -> None:
        how = fault(x, name, "request")
        if fault(x, name, "event") or fault(x, name, "end"):
            x.edits_stream = True
        if how == "hang":
            await asyncio.Event().wait()
        if how == "wait":
            await asyncio.sleep(1.5)
        else:
            fail(how)
        await original(self, x)

    return request


def _answering(name: str, hook: str, original: Any) -> Any:
    def method(self: Stage, x: Exchange) -> Any:
        if hook == "finish" and name == RETURN[0]:
            _record(x)
        how = fault(x, name, hook)
        if how == "wait":
            _wait_for(GATE)
        else:
            fail(how)
        if hook == "stream" and (fault(x, name, "event") or fault(x, name, "end")):
            return Unsteady(x, name)
        return original(self, x)

    return method


def _wait_for(file: str) -> None:
    """Hold everything up until that file is there; fail when it does not come."""
    for _ in range(500):
        if Path(file).exists():
            return
        time.sleep(0.01)
    fail("raise")


def _connecting(name: str, original: Any) -> Any:
    def connection(self: Stage, row: Connection) -> None:
        if f"{name}:connection:{row.host}" in FAULTS:
            fail("raise")
        original(self, row)

    return connection


def _healthy(name: str, original: Any) -> Any:
    def health(self: Stage) -> Any:
        if f"{name}:health" in FAULTS:
            fail("raise")
        return original(self)

    return health


def _record(x: Exchange) -> None:
    if FINISHED:
        with Path(FINISHED).open("a") as file:
            file.write(json.dumps({"id": x.id, "trace": x.traceparent, "outcome": x.outcome}) + "\n")


if "scope" in FAULTS:
    import mitmesh.connections

    def _broken(*_: Any, **__: Any) -> Any:
        fail("raise")

    mitmesh.connections.decide = _broken  # type: ignore[assignment]

for _name in ORDER:
    CATALOG[_name] = unsteady(_name, CATALOG.get(_name))
