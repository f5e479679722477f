"""What has to be looked at again and again while an attach holds: addresses of hosts, pods, the proxy's cgroup."""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

from loader import RedirectError, cgroups, dns, hosts, listeners, programs, proxy
from loader.hosts import Names
from loader.pods import Watch
from loader.redirection import Redirection, Why
from loader.settings import Address

POLL = 0.25
"""Seconds between two looks at pods; a new one is seen within 1 s."""
RESOLVE = 30.0
"""Seconds between two rounds of resolving."""


class Resolver:
    """Resolves all names in a thread of its own, for a resolver may take its time."""

    def __init__(self, names: Names, learn: Callable[[set[Address]], None]) -> None:
        self._names, self._learn = names, learn
        self._thread = threading.Thread(target=self._run, daemon=True)

    def once(self) -> None:
        """Now."""
        self._learn(hosts.resolve(self._names.plain) | self._names.addresses)

    def start(self) -> None:
        """From now on."""
        self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(RESOLVE)
            self.once()


class Follower:
    """Runs until told to stop, or until another attach or a detach takes over. What is attached stays when it ends.

    It writes nothing but under the lock of the loaders, and after a look whether it still may: what a newer attach has
    settled is not unsettled by an older one."""

    def __init__(self, redirection: Redirection, tell: Callable[[str], None]) -> None:
        self._redirection, self._tell = redirection, tell
        self._stopped = False
        self._problem = ""
        self.names: Names | None = None
        self.watch: Watch | None = None
        self.find_proxy: Callable[[], set[int]] | None = None
        """Gives the ids of the cgroups that hold the proxy."""

    @property
    def needed(self) -> bool:
        """Is there anything to follow?"""
        return bool(self.names or self.watch or self.find_proxy)

    def run(self) -> None:
        """Until SIGINT or SIGTERM, or another takes over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        listening = dns.listen() if self.names else None
        if self.names:
            Resolver(self.names, self.learn).start()
        inode: str | None = None
        while not self._stopped:
            self._answers(listening)
            if self.watch:
                chosen = self.watch.chosen()
                self._held(partial(self._redirection.choose_only, chosen, Why.POD))
            if self.find_proxy:
                inode = self._exempt(inode)

    def learn(self, addresses: set[Address]) -> None:
        """Addresses of LLM hosts."""
        self._held(lambda: self._redirection.learn(addresses))

    def _held(self, write: Callable[[], None]) -> None:
        """Write, if what we attached is still in force; else it is time to end."""
        with programs.alone():
            if self._redirection.is_ours:
                write()
                return
        if not self._stopped:
            self._stopped = True
            self._tell("another attach, or a detach, has taken over; this one ends")

    def _answers(self, listening: socket.socket | None) -> None:
        """DNS answers, for POLL seconds."""
        end = time.monotonic() + POLL
        while not self._stopped and (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([listening] if listening else [], [], [], left)
            if ready and listening and self.names:
                try:
                    packet = listening.recv(65535)
                except OSError:
                    continue
                if found := dns.addresses(packet, self.names.match):
                    self.learn(found)
        self._held(lambda: None)

    def _exempt(self, before: str | None) -> str | None:
        """When another process listens than before, leave out its cgroup."""
        wanted = self._redirection.settings
        found = [inode for place in wanted.proxies if (inode := listeners.inode(place))]
        inode = found[0] if found else None
        if inode and inode != before:
            self._held(self._leave_out)
        return inode

    def _leave_out(self) -> None:
        assert self.find_proxy
        try:
            proxy.forget()
            self._redirection.exempt_only(self._redirection.exempt() & cgroups.living() | self.find_proxy())
        except (RedirectError, OSError) as error:
            if (said := str(error)) != self._problem:
                self._tell(said)
            self._problem = said

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._stopped = True
