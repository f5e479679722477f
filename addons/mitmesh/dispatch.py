"""Find out once, not at every event, which addons have a hook for it.

mitmproxy walks some forty addons twice for every event of every flow, and that is about half of its CPU time. Here the
hooks of an event are looked up when it first occurs and again whenever an addon comes or goes. What a hook raises is
treated as mitmproxy does. mitmproxy's manager is changed in two methods, which `install` checks for.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from mitmproxy import exceptions, flow
from mitmproxy.addonmanager import AddonManager, safecall
from mitmproxy.addons.maplocal import MapLocal
from mitmproxy.hooks import Hook, UpdateHook

log = logging.getLogger(__name__)


_UPDATE = UpdateHook([])


class Table:
    """The hooks of each event, by its name, for one AddonManager; `forget` when its addons change."""

    def __init__(self, manager: AddonManager) -> None:
        self._manager = manager
        self._hooks: dict[str, list[list[Callable[..., Any]]]] = {}

    def forget(self) -> None:
        """Addons changed."""
        self._hooks.clear()

    def hooks(self, event: Hook) -> list[list[Callable[..., Any]]]:
        """The event's hooks, in the chain's order, grouped by the addon at the chain's top."""
        found = self._hooks.get(event.name)
        if found is None:
            groups = (self._group(addon, event) for addon in self._manager.chain)
            found = self._hooks[event.name] = [group for group in groups if group]
        return found

    def _group(self, addon: Any, event: Hook) -> list[Callable[..., Any]]:
        group = []
        try:
            for child, func in self._manager._iter_hooks(addon, event):
                idles = event.name == "request" and isinstance(child, MapLocal)
                group.append(partial(_unless_idle, child, func) if idles else func)
        except exceptions.AddonManagerError as error:  # a hook that cannot be called: raised when it would be
            group.append(partial(_raise, error))
        return group

    async def trigger_event(self, event: Hook) -> None:
        """As AddonManager.trigger_event: an exception ends the hooks of its own group only."""
        await self._trigger(self.hooks(event), event.args())

    async def _trigger(self, groups: list[list[Callable[..., Any]]], args: list[Any]) -> None:
        for group in groups:
            try:
                for func in group:
                    result = func(*args)
                    if result is not None and inspect.isawaitable(result):
                        await result
            except exceptions.AddonHalt:
                return
            except Exception:  # as mitmproxy says it, which is asked only now: to stand ready for it costs
                with safecall():
                    raise

    async def handle_lifecycle(self, event: Hook) -> None:
        """As AddonManager.handle_lifecycle."""
        args = event.args()
        if groups := self.hooks(event):
            await self._trigger(groups, args)
        if isinstance(args[0], flow.Flow) and (groups := self.hooks(_UPDATE)):
            await self._trigger(groups, [[args[0]]])


def install(manager: AddonManager) -> None:
    """Use a table for this manager's events; where mitmproxy has changed, leave it as it is and say so."""
    if not all(hasattr(manager, name) for name in ("_iter_hooks", "trigger_event", "handle_lifecycle", "chain")):
        log.warning("mitmesh: this mitmproxy dispatches events differently; it will be slower, nothing else")
        return
    table = Table(manager)
    for name in ("register", "remove", "clear", "add"):
        setattr(manager, name, _forgetting(table, getattr(manager, name)))
    manager.trigger_event = table.trigger_event  # type: ignore[method-assign]
    manager.handle_lifecycle = table.handle_lifecycle  # type: ignore[method-assign]


def _unless_idle(addon: MapLocal, func: Callable[..., Any], *args: Any) -> Any:
    """It would write down every call's URL before it looks whether it has anything to map."""
    return func(*args) if addon.replacements else None


def _raise(error: Exception, *_: Any) -> None:
    raise error


def _forgetting(table: Table, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        table.forget()
        try:
            return method(*args)
        finally:
            table.forget()

    return call
