"""What is asked of the programs: whose connections are turned where; and what they have counted."""

from __future__ import annotations

import secrets
import struct
from dataclasses import replace
from enum import IntEnum

from loader import RedirectError, cgroups, listeners, programs, settings, syscalls
from loader.programs import Loaded
from loader.settings import Address, Settings

COUNTERS = ("redirected", "open", "refused", "passed", "udp_refused", "remembered", "forgotten", "answered")


class Why(IntEnum):
    """Why a cgroup is chosen."""

    ASKED = 1
    RUN = 2
    POD = 3
    TRANSIENT = 9
    """Marks, under id 0, what a `run` attached: it goes with the last run."""


class Redirection:
    """The programs on the root of the cgroup tree, and their maps."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._owner = 0

    @classmethod
    def found(cls) -> Redirection | None:
        """What hangs there now."""
        loaded = programs.find()
        return cls(loaded) if loaded.programs else None

    @classmethod
    def attach(cls, wanted: Settings, exempt: set[int] | None = None, entries: int | None = None) -> Redirection:
        """Everything in place and told what to do, `exempt` (ids of cgroups) left out from the first moment; what hung
        there before is taken over. `entries`: so many connections can be remembered. Raises RedirectError."""
        before = programs.find()
        keep = before.whole and cls(before).version == programs.version()
        if keep and entries and syscalls.map_info(before.maps["flows"]).entries != entries:
            keep = False
        loaded = before if keep else programs.load(before, (f"-DENTRIES={entries}",) if entries else ())
        made = cls(loaded)
        if exempt is not None:
            made.exempt_only(exempt)
        made.configure(wanted)
        if not keep:
            programs.attach(loaded, before)
            if "config" in before.maps and not made._shares(before):
                cls(before)._disown()
            programs.close(before)
        listeners.put(loaded.maps["listen"], wanted)  # those that open from now on are seen by sockops
        made.forget_the_dead()
        return made

    def detach(self) -> None:
        """Nothing of ours is left, and who follows ends."""
        if "config" in self._loaded.maps:
            self._disown()
        programs.detach(self._loaded)

    def close(self) -> None:
        """Leave all as it is."""
        programs.close(self._loaded)

    # --- settings ---

    @property
    def whole(self) -> bool:
        """Does one program of this version hang on every hook?"""
        return self._loaded.whole and self.version == programs.version()

    @property
    def is_ours(self) -> bool:
        """Is what we configured still in force? Another attach, or a detach, ends that."""
        raw = self._config()
        return len(raw) == settings.SIZE and settings.unpack(raw)[1].owner == self._owner

    @property
    def version(self) -> int:
        """Of the redirect.c that hangs there; 0 where its settings cannot be read."""
        try:
            return settings.unpack(self._config())[0]
        except RedirectError:
            return 0

    @property
    def settings(self) -> Settings:
        """Those in force. Raises RedirectError where programs of another version hang there."""
        return settings.unpack(self._config())[1]

    def _config(self) -> bytes:
        fd = self._loaded.maps["config"]
        return syscalls.lookup(fd, bytes(4), syscalls.map_info(fd).value_size) or b""

    def configure(self, wanted: Settings) -> None:
        """Put settings in force, for the network namespace we are in."""
        self._owner = secrets.randbits(63) + 1
        here = replace(wanted, netns=settings.netns_cookie(), owner=self._owner)
        syscalls.update(self._loaded.maps["config"], bytes(4), here.pack(programs.version()))

    def _disown(self) -> None:
        syscalls.update(self._loaded.maps["config"], bytes(4), settings.disowned(self._config()))

    def _shares(self, other: Loaded) -> bool:
        here, there = (syscalls.map_info(each.maps["config"]).id for each in (self._loaded, other))
        return here == there

    # --- whose connections ---

    def chosen(self) -> dict[int, Why]:
        """Cgroup ids whose processes are redirected, and why."""
        fd = self._loaded.maps["chosen"]
        found = {key: syscalls.lookup(fd, key, 4) for key in syscalls.keys(fd, 8)}
        return {_int(key): Why(_int(value)) for key, value in found.items() if value}

    def choose(self, identity: int, why: Why) -> None:
        """Redirect the processes of a cgroup and of all below it."""
        syscalls.update(self._loaded.maps["chosen"], _key(identity), struct.pack("=I", why))

    def unchoose(self, identity: int) -> None:
        """No longer."""
        syscalls.delete(self._loaded.maps["chosen"], _key(identity))

    def choose_only(self, identities: set[int], why: Why) -> None:
        """Exactly these for this reason; those chosen for another stay."""
        for identity in identities:
            self.choose(identity, why)
        for identity, reason in self.chosen().items():
            if reason is why and identity not in identities:
                self.unchoose(identity)

    def exempt(self) -> set[int]:
        """Cgroup ids whose own processes are never redirected."""
        return {_int(key) for key in syscalls.keys(self._loaded.maps["exempt"], 8)}

    def exempt_only(self, identities: set[int]) -> None:
        """Exactly these."""
        fd = self._loaded.maps["exempt"]
        for identity in identities:
            syscalls.update(fd, _key(identity), struct.pack("=I", 1))
        for identity in self.exempt() - identities:
            syscalls.delete(fd, _key(identity))

    def forget_the_dead(self) -> None:
        """Cgroups that are no more: their ids never come again, and only fill the maps."""
        living = cgroups.living()
        for identity in self.chosen():
            if identity and identity not in living:
                self.unchoose(identity)
        self.exempt_only(self.exempt() & living)

    # --- addresses ---

    def listed(self) -> set[Address]:
        """Addresses of LLM hosts, as known now."""
        return {settings.unpacked(key) for key in syscalls.keys(self._loaded.maps["listed"], 16)}

    def learn(self, addresses: set[Address]) -> None:
        """More of them; the map forgets those not connected to for longest."""
        for address in addresses:
            syscalls.update(self._loaded.maps["listed"], settings.packed(address), bytes(8))

    # --- what happened ---

    def counts(self) -> dict[str, int]:
        """Since the first attach. `evicted`: records pushed out by newer ones, whose connections were closed."""
        fd = self._loaded.maps["counts"]
        found = {}
        for index, name in enumerate(COUNTERS):
            found[name] = _int(syscalls.lookup(fd, struct.pack("=I", index), 8) or b"")
        found["connections"] = len(syscalls.keys(self._loaded.maps["flows"], self._key_size("flows")))
        found["opening"] = len(syscalls.keys(self._loaded.maps["opening"], 8))
        found["evicted"] = max(0, found["remembered"] - found["forgotten"] - found["connections"])
        return found

    def _key_size(self, name: str) -> int:
        return syscalls.map_info(self._loaded.maps[name]).key_size


def _key(identity: int) -> bytes:
    return struct.pack("=Q", identity)


def _int(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
