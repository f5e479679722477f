"""The places where a machine keeps the roots that its programs trust: what is there of ours, put in, taken out.

What we put in is called `mitmesh-` and the beginning of its fingerprint, so that all of it can be found again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmesh.launch import LaunchError

PREFIX = "mitmesh-"
_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{12}}")


@dataclass(frozen=True)
class Root:
    """One certificate to be trusted: its name in every store, and its file."""

    name: str
    file: Path


class Store(ABC):
    """One place. Each method raises LaunchError where a tool of the system fails."""

    def __init__(self, place: str) -> None:
        self.place = place

    @abstractmethod
    def names(self) -> list[str]:
        """Ours that are in it."""

    @abstractmethod
    def add(self, root: Root) -> None:
        """Trust it here."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Trust it here no more."""


class Anchors(Store):
    """A folder of certificates, and a command that makes the system's own store of them: Debian, RHEL.

    `follows` is a store that the command adds each root to, and never takes one out of: Debian's for Java.
    """

    def __init__(self, folder: Path, suffix: str, update: Sequence[str], follows: Iterable[Store] = ()) -> None:
        super().__init__(str(folder))
        self.folder, self.suffix, self.update, self.follows = folder, suffix, update, tuple(follows)

    def names(self) -> list[str]:
        return sorted(each.stem for each in self.folder.glob(f"{PREFIX}*{self.suffix}"))

    def add(self, root: Root) -> None:
        target = str(self.folder / f"{root.name}{self.suffix}")
        call(["install", "-m", "644", str(root.file), target], as_root=True)
        call(self.update, as_root=True)

    def remove(self, name: str) -> None:
        call(["rm", "-f", str(self.folder / f"{name}{self.suffix}")], as_root=True)
        call([*self.update, "--fresh"] if self.suffix == ".crt" else self.update, as_root=True)
        for store in self.follows:
            if name in store.names():
                store.remove(name)


class Keychain(Store):
    """macOS's system keychain. Certificates bear no name of ours there, but their subject does."""

    def __init__(self) -> None:
        super().__init__("/Library/Keychains/System.keychain")

    def names(self) -> list[str]:
        said = call(["security", "find-certificate", "-a", "-c", "mitmesh root", "-Z", self.place], may_fail=True)
        return [PREFIX + found.lower()[:12] for found in re.findall(r"SHA-256 hash: ([0-9A-F]{64})", said)]

    def add(self, root: Root) -> None:
        trust = ["security", "add-trusted-cert", "-d", "-r", "trustRoot", "-p", "ssl", "-k", self.place]
        call([*trust, str(root.file)], as_root=True)

    def remove(self, name: str) -> None:
        said = call(["security", "find-certificate", "-a", "-c", "mitmesh root", "-Z", self.place])
        for found in re.findall(r"SHA-256 hash: ([0-9A-F]{64})", said):
            if found.lower().startswith(name.removeprefix(PREFIX)):
                call(["security", "delete-certificate", "-Z", found, "-t", self.place], as_root=True)


class Nss(Store):
    """One database of NSS: Chrome's and Chromium's on Linux, or a profile of Firefox."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.database = ["-d", f"sql:{folder}"]
        self.made = folder / "mitmesh-made-this"
        """Says that the database is there for our sake alone."""

    def names(self) -> list[str]:
        if not (Path(self.place) / "cert9.db").exists():
            return []
        return sorted(set(_NAME.findall(call(["certutil", "-L", *self.database]))))

    def add(self, root: Root) -> None:
        if not (Path(self.place) / "cert9.db").exists():
            Path(self.place).mkdir(mode=0o700, parents=True, exist_ok=True)
            call(["certutil", "-N", *self.database, "--empty-password"])
            self.made.touch()
        call(["certutil", "-A", *self.database, "-t", "C,,", "-n", root.name, "-i", str(root.file)])

    def remove(self, name: str) -> None:
        call(["certutil", "-D", *self.database, "-n", name])
        if self.made.exists() and not self.names():
            self._leave()

    def _leave(self) -> None:
        """Take away the database that we made, unless something else is in it by now."""
        self.made.unlink()
        certificates = [line for line in call(["certutil", "-L", *self.database]).splitlines() if line.strip()][2:]
        keys = call(["certutil", "-K", *self.database], may_fail=True)
        if certificates or "< 0>" in keys:
            return
        folder = Path(self.place)
        for name in ("cert9.db", "key4.db", "pkcs11.txt"):
            (folder / name).unlink(missing_ok=True)
        for each in (folder, folder.parent):
            if each.name in (".pki", "nssdb") and not any(each.iterdir()):
                each.rmdir()


class Java(Store):
    """The trust store of one Java, or of several: Debian's share one."""

    def __init__(self, cacerts: Path, keytool: Path) -> None:
        super().__init__(str(cacerts))
        self.keytool = str(keytool)
        self.store = ["-noprompt", "-storepass", "changeit", "-keystore", self.place]
        self.own = os.access(self.place, os.W_OK)

    def names(self) -> list[str]:
        return sorted(set(_NAME.findall(self._listed())))

    def add(self, root: Root) -> None:
        self._change("-importcert", "-alias", root.name, "-file", str(root.file))

    def remove(self, name: str) -> None:
        for alias in re.findall(rf"^(?:debian:)?{name}[^,\s]*", self._listed(), re.M):  # the hook's: debian:NAME.pem
            self._change("-delete", "-alias", alias)

    def _listed(self) -> str:
        return call([self.keytool, "-list", *self.store])

    def _change(self, what: str, *more: str) -> None:
        call([self.keytool, what, *self.store, *more], as_root=not self.own)


def system() -> Iterator[Store]:
    """The system's own store."""
    if sys.platform == "darwin":
        yield Keychain()
    elif shutil.which("update-ca-certificates", path=_PATH):
        yield Anchors(Path("/usr/local/share/ca-certificates"), ".crt", ["update-ca-certificates"], debian_java())
    elif shutil.which("update-ca-trust", path=_PATH):
        yield Anchors(Path("/etc/pki/ca-trust/source/anchors"), ".pem", ["update-ca-trust", "extract"])


def nss() -> Iterator[Store]:
    """Chrome's database, whether it is there yet or not, and those of all Firefox profiles."""
    user = Path.home()
    shared = user / ".pki" / "nssdb"
    profiles = [*user.glob("snap/chromium/current/.pki/nssdb")]
    for base in (
        ".mozilla/firefox",
        "snap/firefox/common/.mozilla/firefox",
        "Library/Application Support/Firefox/Profiles",
    ):
        profiles += [found.parent for found in sorted((user / base).glob("*/cert9.db"))]
    if not shutil.which("certutil"):
        if profiles or shared.exists():
            raise LaunchError("certutil is not installed (Debian: libnss3-tools, RHEL: nss-tools, macOS: brew nss)")
        return
    if sys.platform != "darwin":
        yield Nss(shared)
    yield from map(Nss, profiles)


def java() -> Iterator[Store]:
    """JAVA_HOME's, that of the java on PATH, and the one that all of Debian's share."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if found := shutil.which("java"):
        homes.append(Path(found).resolve().parents[1])
    own = {(home / "lib" / "security" / "cacerts").resolve(): home / "bin" / "keytool" for home in reversed(homes)}
    own.pop(DEBIAN_JAVA, None)
    yield from (Java(cacerts, tool) for cacerts, tool in own.items() if cacerts.is_file() and tool.exists())
    yield from debian_java()


def debian_java() -> Iterator[Store]:
    """The store that update-ca-certificates adds to, by a hook; any Java's keytool can read it."""
    if DEBIAN_JAVA.is_file():
        yield from (Java(DEBIAN_JAVA, tool) for tool in sorted(JVMS.glob("*/bin/keytool"))[:1])


JVMS = Path("/usr/lib/jvm")
DEBIAN_JAVA = Path("/etc/ssl/certs/java/cacerts")
KINDS = {"system": system, "nss": nss, "java": java}
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def call(command: Sequence[str], *, as_root: bool = False, may_fail: bool = False) -> str:
    """What the command prints. Raises LaunchError with the line that says why it fails."""
    if as_root and os.geteuid():
        command = ["sudo", *command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": _PATH})
    except OSError as error:
        raise LaunchError(f"{command[0]}: {error.strerror}") from None
    if done.returncode and not may_fail:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        named = [line for line in (done.stdout + done.stderr).splitlines() if "error:" in line]  # keytool's, on stdout
        raise LaunchError(f"{' '.join(command[:2])} failed: {(named or said)[-1]}")
    return done.stdout
