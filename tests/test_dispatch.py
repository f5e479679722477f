from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import exceptions, hooks
from mitmproxy.addonmanager import AddonManager
from mitmproxy.master import Master
from mitmproxy.proxy import server_hooks
from mitmproxy.proxy.layers.http import _hooks as http_hooks
from mitmproxy.test import tflow
from mitmproxy.tools.dump import DumpMaster

from mitmesh import dispatch


class Told:
    """An addon that writes down what it is told; children below it."""

    def __init__(self, name: str, log: list[str], *children: Any, raises: Exception | None = None) -> None:
        self.name, self.log, self.raises = name, log, raises
        self.addons = list(children)

    def request(self, flow: Any) -> None:
        self.log.append(self.name)
        if self.raises:
            raise self.raises

    def update(self, flows: Any) -> None:
        self.log.append(f"{self.name}.update")


class Awaited(Told):
    """The same, asynchronously."""

    async def request(self, flow: Any) -> None:  # type: ignore[override]
        Told.request(self, flow)


class Uncallable:
    """An addon whose hook is none."""

    name = "uncallable"
    request = 7


def request() -> hooks.Hook:
    """A request event."""
    return http_hooks.HttpRequestHook(tflow.tflow())


@pytest.fixture
async def manager() -> AddonManager:
    """An addon manager without addons."""
    return Master(None).addons


async def both(manager: AddonManager, log: list[str]) -> tuple[list[str], list[str]]:
    """What is told by mitmproxy's own dispatch, and by ours."""
    event = request()
    await AddonManager.handle_lifecycle(manager, event)
    theirs = log.copy()
    log.clear()
    await dispatch.Table(manager).handle_lifecycle(event)
    ours = log.copy()
    log.clear()
    return theirs, ours


async def test_the_same_hooks() -> None:
    """For every event of mitmdump's own addons, the same functions in the same order."""
    manager = DumpMaster(None, with_termlog=False, with_dumper=True).addons
    table = dispatch.Table(manager)
    seen = 0
    for kind in hooks.all_hooks.values():
        event = kind.__new__(kind)
        theirs = [func for addon in manager.chain for _, func in manager._iter_hooks(addon, event)]
        ours = [func.args[1] if isinstance(func, partial) else func for group in table.hooks(event) for func in group]
        assert ours == theirs, kind.name
        seen += len(theirs)
    assert seen > 50


async def test_order_and_children(manager: AddonManager) -> None:
    """Children come after their parent and before the next; `update` follows; async hooks are awaited."""
    log: list[str] = []
    manager.add(Told("a", log, Awaited("b", log, Told("c", log))), Awaited("d", log))
    theirs, ours = await both(manager, log)
    assert theirs == ours == ["a", "b", "c", "d", "a.update", "b.update", "c.update", "d.update"]


@pytest.mark.parametrize("kind", [Told, Awaited])
async def test_exceptions(kind: type[Told], manager: AddonManager, caplog: pytest.LogCaptureFixture) -> None:
    """An exception ends the hooks of its own group, is logged, and does not keep the next addon from its own."""
    log: list[str] = []
    manager.add(Told("a", log, kind("b", log, raises=ValueError("b cannot")), Told("c", log)), Told("d", log))
    theirs, ours = await both(manager, log)
    assert theirs == ours
    assert ours[:3] == ["a", "b", "d"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "Addon error: b cannot"
    ] * 2


@pytest.mark.parametrize("kind", [Told, Awaited])
async def test_halt(kind: type[Told], manager: AddonManager) -> None:
    """AddonHalt ends the event for everyone."""
    log: list[str] = []
    manager.add(Told("a", log), kind("b", log, raises=exceptions.AddonHalt()), Told("c", log))
    theirs, ours = await both(manager, log)
    assert theirs == ours
    assert ours == ["a", "b", "a.update", "b.update", "c.update"]


async def test_options_error(manager: AddonManager) -> None:
    """OptionsError rises, as it does in mitmproxy."""
    manager.add(Told("a", [], raises=exceptions.OptionsError("no")))
    for trigger in (lambda event: AddonManager.trigger_event(manager, event), dispatch.Table(manager).trigger_event):
        with pytest.raises(exceptions.OptionsError):
            await trigger(request())


async def test_a_hook_that_is_none(manager: AddonManager, caplog: pytest.LogCaptureFixture) -> None:
    """A hook that cannot be called is that addon's error and nobody else's."""
    log: list[str] = []
    manager.add(Told("a", log, Uncallable(), Told("b", log)), Told("c", log))
    theirs, ours = await both(manager, log)
    assert theirs == ours
    assert ours[:2] == ["a", "c"]
    assert sum("not callable" in record.getMessage() for record in caplog.records) == 2


async def test_installed(manager: AddonManager) -> None:
    """Addons that come, go or are all cleared are noticed, in whatever order."""
    log: list[str] = []
    dispatch.install(manager)
    await manager.trigger_event(request())
    manager.add(first := Told("a", log))
    await manager.trigger_event(request())
    manager.add(Told("b", log))
    await manager.trigger_event(request())
    manager.remove(first)
    await manager.trigger_event(request())
    manager.clear()
    await manager.trigger_event(request())
    assert log == ["a", "a", "b", "b"]


async def test_reloaded_script(manager: AddonManager) -> None:
    """A parent that swaps its child, as mitmproxy does with a `-s` file, is noticed."""
    log: list[str] = []
    dispatch.install(manager)
    parent = Told("script", log)
    manager.add(parent)
    for version in ("one", "two"):
        child = Told(version, log)
        for old in parent.addons:
            manager.remove(old)
        manager.register(child)
        parent.addons = [child]
        await manager.trigger_event(request())
    assert log == ["script", "one", "script", "two"]


async def test_events_without_a_flow(manager: AddonManager) -> None:
    """Only what happens to a flow is followed by `update`."""
    log: list[str] = []
    dispatch.install(manager)
    manager.add(Told("a", log))
    await manager.handle_lifecycle(server_hooks.ClientConnectedHook(tflow.tclient_conn()))
    assert log == []
    await manager.handle_lifecycle(request())
    assert log == ["a", "a.update"]


def test_another_mitmproxy(caplog: pytest.LogCaptureFixture) -> None:
    """Where mitmproxy dispatches differently it is left as it is, and the log says so."""
    other: Any = object()
    dispatch.install(other)
    assert "dispatches events differently" in caplog.text


async def test_a_local_map_works_once_it_has_something_to_map(tmp_path: Path) -> None:
    """Asked or not: mitmproxy's map_local is left alone while it is empty, and called as soon as it is not."""
    master = DumpMaster(None, with_termlog=False, with_dumper=False)
    dispatch.install(master.addons)
    (tmp_path / "page").write_text("from disk")
    first, second = tflow.tflow(), tflow.tflow()
    await master.addons.handle_lifecycle(http_hooks.HttpRequestHook(first))
    master.options.update(map_local=[f"|address|{tmp_path / 'page'}"])
    await master.addons.handle_lifecycle(http_hooks.HttpRequestHook(second))
    assert first.response is None
    assert second.response is not None
    assert second.response.content == b"from disk"
