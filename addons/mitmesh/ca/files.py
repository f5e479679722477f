"""The CA's folder: the key that signs, its successor while they overlap, and what clients are told to trust."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from mitmesh.ca.authority import OURS, Authority, AuthorityError, make, read
from mitmesh.ca.names import EVERYTHING, outside, wanted
from mitmesh.rules import Ca, Rules

log = logging.getLogger(__name__)

CURRENT = "mitmproxy-ca.pem"
"""mitmproxy's own name for it: where this folder is its confdir, it finds ours and makes none."""
NEXT = "next.pem"
TRUSTED = "mitmproxy-ca-cert.pem"
"""Certificates alone: what clients must trust, the newest first."""
MITMPROXY = "mitmproxy"
LEFT_BY_MITMPROXY = ("mitmproxy-ca.p12", "mitmproxy-ca-cert.p12", "mitmproxy-ca-cert.cer")
SWITCH = "Signs from "
"""Begins the first line of NEXT, before the moment from which it signs everything."""
WARN = timedelta(days=30)
RENEW = "renew the certificate that `ca` in mesh.yaml names"
WIDE = "the CA may sign for EVERY host, although ca.constrained in mesh.yaml is true: scripts/ca rotate"


@dataclass(frozen=True)
class Signers:
    """Who signs now. From `switch` on the last one signs everything; until then the first signs all that it may."""

    authorities: tuple[Authority, ...]
    switch: datetime | None = None

    def at(self, now: datetime) -> tuple[Authority, ...]:
        """Those that sign at this moment, in the order in which they are asked."""
        return self.authorities[-1:] if self.switch and now >= self.switch else self.authorities

    def wider(self, rules: Rules) -> bool:
        """May one of our own sign for every host, although the rules want constraints?"""
        ours = not rules.mesh.ca.cert and rules.mesh.ca.constrained
        return ours and any(all(each == EVERYTHING for each in one.limits) for one in self.authorities)

    def check(self, rules: Rules) -> None:
        """Raises AuthorityError that names the first host of the rules for which nobody may sign."""
        found = outside(rules, lambda pattern: any(each.covers(pattern) for each in self.authorities))
        if found:
            rule, text = found
            what = "its name constraints do not permit it" if rules.mesh.ca.cert else "run scripts/ca rotate"
            raise AuthorityError(f"hosts.yaml: {rule.id}: the CA may not sign for {text}; {what}")


def prepare(folder: Path, rules: Rules, now: datetime | None = None) -> Signers:
    """Who signs under these rules: the CA they name, else this install's own, which is made when there is none.

    Brings the folder up to date with it. Raises AuthorityError, and OSError where the folder cannot be used."""
    now = now or datetime.now(UTC)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder):
        if rules.mesh.ca.cert:
            signers = Signers((_configured(rules.mesh.ca, now),))
        else:
            signers = _own(folder, rules, now)
        signers.check(rules)
        trusted = b"".join(each.anchor.public_bytes(Encoding.PEM) for each in reversed(signers.authorities))
        _write(folder / TRUSTED, trusted, 0o644)
    if signers.wider(rules):
        log.warning("mitmesh: %s", WIDE)
    for authority in signers.at(now)[-1:]:
        if authority.expires - now < WARN:
            step = RENEW if rules.mesh.ca.cert else "scripts/ca rotate"
            log.warning("mitmesh: the CA expires on %s; %s", authority.expires.date(), step)
    return signers


def look(folder: Path, rules: Rules, now: datetime | None = None) -> Signers | None:
    """Who signs, without making or changing anything; None where there is no CA yet. Raises AuthorityError."""
    now = now or datetime.now(UTC)
    if rules.mesh.ca.cert:
        return Signers((_configured(rules.mesh.ca, now),))
    if not (folder / CURRENT).exists():
        return None
    switch = _switch(folder / NEXT) if (folder / NEXT).exists() else None
    return Signers(tuple(_read(folder / name, now) for name in (CURRENT, NEXT)[: 2 if switch else 1]), switch)


def rotate(folder: Path, rules: Rules, overlap: timedelta, now: datetime | None = None) -> Signers:
    """Make a new CA for these rules. It signs at once what the old one may not, and everything once `overlap` is over;
    clients have that long to be told to trust it. Raises as `prepare` does."""
    now = now or datetime.now(UTC)
    if rules.mesh.ca.cert:
        raise AuthorityError("mesh.yaml names a CA of your own (ca.cert): whoever issued it can issue another")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder):
        made = _made(rules, now).pem()
        if overlap and (folder / CURRENT).exists():
            moment = (now + overlap).isoformat(timespec="seconds")
            _write(folder / NEXT, f"{SWITCH}{moment}\n".encode() + made, 0o600)
        else:
            _write(folder / CURRENT, made, 0o600)
            (folder / NEXT).unlink(missing_ok=True)
    return prepare(folder, rules, now)


def fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when another key is to sign: name, inode and mtime of each key file. Never raises."""
    found = []
    for name in (CURRENT, NEXT):
        try:
            stat = (folder / name).stat()
        except OSError:
            continue
        found.append((name, stat.st_ino, stat.st_mtime_ns))
    return tuple(found)


def _made(rules: Rules, now: datetime) -> Authority:
    return make(wanted(rules) if rules.mesh.ca.constrained else EVERYTHING, now)


def _own(folder: Path, rules: Rules, now: datetime) -> Signers:
    current, successor = folder / CURRENT, folder / NEXT
    switch = _switch(successor) if successor.exists() else None
    if switch and now >= switch:
        successor.replace(current)
        switch = None
    if not current.exists():
        _write(current, _made(rules, now).pem(), 0o600)
    first = _read(current, now)
    if first.organisation == MITMPROXY:  # mitmproxy is started before us, and makes one that may sign for everybody
        log.info("mitmesh: the CA that mitmproxy made in %s is replaced by a name-constrained one", folder)
        for name in LEFT_BY_MITMPROXY:
            (folder / name).unlink(missing_ok=True)
        _write(current, _made(rules, now).pem(), 0o600)
        first = _read(current, now)
    if first.organisation != OURS:
        raise AuthorityError(f"{current} was not made by mitmesh: name a CA of your own under `ca` in mesh.yaml")
    return Signers((first, _read(successor, now)), switch) if switch else Signers((first,))


def _read(file: Path, now: datetime) -> Authority:
    file.chmod(0o600)
    data = file.read_bytes()
    return read(data, data, str(file), now)


def _switch(file: Path) -> datetime:
    with file.open() as lines:
        line = lines.readline().strip()
    try:
        return datetime.fromisoformat(line.removeprefix(SWITCH))
    except ValueError:
        raise AuthorityError(f"{file} does not say when it signs: run scripts/ca rotate again") from None


def _configured(ca: Ca, now: datetime) -> Authority:
    parts = {}
    for field in ("key", "cert", "chain"):
        path = getattr(ca, field)
        try:
            parts[field] = Path(path).expanduser().read_bytes() if path else b""
        except OSError as error:
            raise AuthorityError(f"mesh.yaml: ca.{field}: cannot be read: {error.strerror}") from None
    if ca.chain and not _certificates_alone(parts["chain"]):
        raise AuthorityError("mesh.yaml: ca.chain: must be PEM, of certificates alone")
    return read(parts["key"], parts["cert"].rstrip() + b"\n" + parts["chain"], "mesh.yaml: ca", now, RENEW)


def _certificates_alone(pem: bytes) -> bool:
    """Is there a certificate in it, and no key or anything else?"""
    kinds = set(re.findall(rb"-----BEGIN ([^-]*)-----", pem))
    return bool(kinds) and all(kind.endswith(b"CERTIFICATE") for kind in kinds)


def _write(file: Path, data: bytes, mode: int) -> None:
    """In one step, and only if it says something else: whoever reads it sees the old or the new."""
    if file.exists() and file.read_bytes() == data:
        return
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as target:
        target.write(data)
    new.replace(file)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: two that start together must not make two CAs."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
