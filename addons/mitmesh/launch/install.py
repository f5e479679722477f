"""scripts/install-ca: make this machine trust our CA, say where it does, and undo it."""

from __future__ import annotations

import argparse
import hashlib
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mitmesh.launch import LaunchError, home, stores
from mitmesh.launch.environment import CA
from mitmesh.launch.trust import BLOCK

type Found = list[tuple[str, stores.Store]]


def main(argv: list[str] | None = None) -> None:
    """Does what is asked in every store that is there; exits with 1 where one of them failed, and says which."""
    options = _parser().parse_args(argv)
    certificate = home() / CA
    if options.what != "uninstall" and not certificate.is_file():
        sys.exit(f"mitmesh: there is no CA in {certificate.parent} yet: scripts/run makes it")
    if options.what == "path":
        sys.stdout.write(f"{certificate}\n")
        return
    found, failed = _stores(options.stores or list(stores.KINDS))
    for kind in options.stores:
        if not failed and kind not in dict(found):
            sys.stdout.write(f"{kind:<8}there is none here\n")
    with _roots(certificate) as roots:
        for kind, store in found:
            try:
                _do(options.what, kind, store, roots)
            except LaunchError as error:
                failed.append(f"{kind}: {store.place}: {error}")
    for line in failed:
        sys.stderr.write(f"mitmesh: {line}\n")
    sys.exit(1 if failed else 0)


def installed(certificate: Path) -> list[str]:
    """The places that trust every root of this file; a store that cannot be asked is left out."""
    found, _ = _stores(list(stores.KINDS))
    with _roots(certificate) as roots:
        wanted = {root.name for root in roots}
        return [store.place for _, store in found if wanted <= set(_names(store))]


def _names(store: stores.Store) -> list[str]:
    try:
        return store.names()
    except LaunchError:
        return []


def _stores(kinds: list[str]) -> tuple[Found, list[str]]:
    found: Found = []
    failed: list[str] = []
    for kind in kinds:
        try:
            found += [(kind, store) for store in stores.KINDS[kind]()]
        except LaunchError as error:
            failed.append(f"{kind}: {error}")
    return found, failed


def _do(what: str, kind: str, store: stores.Store, roots: list[stores.Root]) -> None:
    there = store.names()
    wanted = {root.name for root in roots}
    if what == "install":
        for root in roots:
            if root.name not in there:
                store.add(root)
        for name in sorted(set(there) - wanted):  # of a CA that signs no more
            store.remove(name)
        said = "trusted"
    elif what == "uninstall":
        for name in there:
            store.remove(name)
        said = f"{len(there)} removed" if there else "nothing there"
    else:
        said = "trusted" if wanted <= set(there) else "not trusted"
        if strays := sorted(set(there) - wanted):
            said += f", and {len(strays)} of another CA of mitmesh's: {', '.join(strays)}"
    sys.stdout.write(f"{kind:<8}{store.place}: {said}\n")


@contextmanager
def _roots(certificate: Path) -> Iterator[list[stores.Root]]:
    """The roots in this file (two while a new CA takes over), each in a file of its own; none if it is not there."""
    with tempfile.TemporaryDirectory(prefix="mitmesh-") as folder:
        roots = []
        for block in BLOCK.findall(certificate.read_bytes()) if certificate.is_file() else ():
            der = ssl.PEM_cert_to_DER_cert(block.decode("ascii"))
            name = stores.PREFIX + hashlib.sha256(der).hexdigest()[:12]
            file = Path(folder) / f"{name}.pem"
            file.write_bytes(block + b"\n")
            roots.append(stores.Root(name, file))
        yield roots


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/install-ca")
    parser.add_argument("what", choices=["install", "list", "uninstall", "path"])
    parser.add_argument("stores", nargs="*", choices=[*stores.KINDS, []], metavar="STORE", help=", ".join(stores.KINDS))
    return parser


if __name__ == "__main__":
    main()
