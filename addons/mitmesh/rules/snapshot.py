"""Rules: the files of a rules folder and of its local/ overlay, as one immutable snapshot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from pydantic import BaseModel, ValidationError

from mitmesh.exchange import Mode
from mitmesh.rules.cache import Cache
from mitmesh.rules.errors import RulesError, from_validation
from mitmesh.rules.identities import Identities
from mitmesh.rules.models import (
    Content,
    Egress,
    FailMode,
    Hosts,
    Mesh,
    Prices,
    Routes,
    field_names,
)
from mitmesh.rules.pii import Pii
from mitmesh.rules.quotas import Quotas
from mitmesh.rules.tree import Node, overlay, read, read_bytes

FILES: dict[str, type[BaseModel]] = {
    "mesh": Mesh,
    "hosts": Hosts,
    "identities": Identities,
    "routes": Routes,
    "prices": Prices,
    "egress": Egress,
    "pii": Pii,
    "cache": Cache,
    "quotas": Quotas,
}
"""The files of a rules folder, by name without `.yaml`."""

REQUIRED = ("hosts",)
"""Files without which nothing would be governed."""


@dataclass(frozen=True, eq=False)
class Rules:
    """All rules at one moment. Compared and hashed as the object it is, so that what is built from it can be cached."""

    version: str = "defaults"
    """12 hex digits that change with any file's content; verdicts carry it."""
    mesh: Mesh = field(default_factory=Mesh)
    hosts: Hosts = field(default_factory=Hosts)
    identities: Identities = field(default_factory=Identities)
    routes: Routes = field(default_factory=Routes)
    prices: Prices = field(default_factory=Prices)
    egress: Egress = field(default_factory=Egress)
    pii: Pii = field(default_factory=Pii)
    cache: Cache = field(default_factory=Cache)
    quotas: Quotas = field(default_factory=Quotas)
    trees: Mapping[str, Node] = field(default_factory=dict, repr=False)
    """What the files say, by name, with the line of each thing."""

    def where(self, stem: str, *path: str | int) -> str:
        """File, line and field of what a file says there (`"identities", "certificates", "ca"`), for messages."""
        if stem in self.trees:
            return self.trees[stem].follow(path)[0].where()
        return f"rules/{stem}.yaml: {'.'.join(map(str, path))}"

    def named_files(self) -> tuple[Path, ...]:
        """Files outside the folder that what is built of these rules reads: when one changes, the rules do."""
        who = self.identities
        named = [who.certificates.ca if who.certificates else None, *(issuer.ca for issuer in who.issuers)]
        return tuple(Path(name).expanduser() for name in named if name)

    def mode(self, team: str | None = None) -> Mode:
        """observe or enforce, for a team where it has its own."""
        own = self.mesh.teams.get(team) if team is not None else None
        return own.mode if own is not None and own.mode is not None else self.mesh.mode

    def fail_mode(self, stage: str) -> FailMode:
        """What the failure of a stage means where the house leaves it open to choose; closed unless set."""
        return self.mesh.fail_mode.get(stage, FailMode.CLOSED)

    def content(self, team: str | None = None) -> Content:
        """What the audit keeps of the texts of a team's calls."""
        audit = self.mesh.audit
        return audit.content if team is None else audit.content_by_team.get(team, audit.content)


def load(directory: Path) -> Rules:
    """Read, overlay and check all files; RulesError names file, line and field of the first mistake.

    Missing files stand for their defaults, but for hosts.yaml: without it nothing would be governed.
    """
    if not directory.is_dir():
        raise RulesError(f"{directory.name}: there is no such rules folder")
    trees, version = _read(directory)
    for stem in REQUIRED:
        if not (directory / f"{stem}.yaml").is_file():
            raise RulesError(f"{directory.name}/{stem}.yaml: is missing; without it nothing would be governed")
    models = {stem: _model(FILES[stem], tree) for stem, tree in trees.items()}
    rules = Rules(version, trees=trees, **models)  # type: ignore[arg-type] # each under its own model's name
    _check_names(rules, trees)
    return rules


def _read(directory: Path) -> tuple[dict[str, Node], str]:
    """Each file's tree, overlaid, and the version that stands for all of their bytes."""
    digest = hashlib.sha256()
    trees: dict[str, Node] = {}
    try:
        paths = _files(directory)
    except OSError as error:
        raise RulesError(f"{directory.name}: cannot be listed: {error.strerror}") from None
    for path in paths:
        name = f"{directory.name}/{path.relative_to(directory)}"
        if path.suffix != ".yaml" or path.stem not in FILES:
            raise RulesError(f"{name}: is no rules file; there are {', '.join(f'{stem}.yaml' for stem in FILES)}")
        raw = read_bytes(path, name)
        digest.update(f"{path.relative_to(directory)}\0{len(raw)}\0".encode() + raw)
        tree = read(name, raw)
        trees[path.stem] = overlay(trees[path.stem], tree) if path.stem in trees else tree
    return trees, digest.hexdigest()[:12]


def _files(directory: Path) -> list[Path]:
    """The YAML files of the folder, then those of local/. Hidden ones are editors' and Kubernetes' own."""
    return [
        path
        for folder in (directory, directory / "local")
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
    ]


def _model(model: type[BaseModel], tree: Node) -> BaseModel:
    # As JSON, because pydantic's strict mode then still takes text for dates and enums, as YAML writes them.
    try:
        return model.model_validate_json(json.dumps(tree.plain()), strict=True)
    except ValidationError as error:
        raise from_validation(error, tree, field_names()) from None


def _unknown_type(trees: dict[str, Node], place: tuple[str | int, ...], kind: str, known: frozenset[str]) -> NoReturn:
    """A type that nothing finds: the rule would never act."""
    node, _ = trees["pii"].follow(place)
    raise RulesError(f"{node.where()}: nothing finds the type {kind!r}; there are {', '.join(sorted(known))}")


def _check_names(rules: Rules, trees: dict[str, Node]) -> None:
    """What one entry names, another must define."""
    for index, host in enumerate(rules.hosts.hosts):
        if host.api != "none" and host.api not in rules.hosts.apis:
            node, _ = trees["hosts"].follow(("hosts", index, "api"))
            known = ", ".join([*rules.hosts.apis, "none"])
            raise RulesError(f"{node.where()}: must name a table of apis ({known}); found {host.api[:60]!r}")
    known_types = rules.pii.known_types
    for index, action in enumerate(rules.pii.actions):
        for at, kind in enumerate(action.types):
            if kind not in known_types:
                _unknown_type(trees, ("actions", index, "types", at), kind, known_types)
    for at, kind in enumerate(rules.pii.skip):
        if kind not in known_types:
            _unknown_type(trees, ("skip", at), kind, known_types)
    for place, wrong in rules.identities.meaningless():
        raise RulesError(f"{trees['identities'].follow(place)[0].where()}: {wrong}")
    for index, route in enumerate(rules.routes.routes):
        if route.provider not in rules.routes.providers:
            node, _ = trees["routes"].follow(("routes", index, "provider"))
            known = ", ".join(rules.routes.providers)
            raise RulesError(
                f"{node.where()}: must name an entry of providers ({known}); found {route.provider[:60]!r}"
            )


type Fingerprint = tuple[tuple[str, int, int, int], ...]


def fingerprint(directory: Path) -> Fingerprint:
    """What changes when a file is written, added or removed: name, inode, mtime (ns) and size of each, without reading
    any. Never raises: what cannot be seen is left out."""
    try:
        return fingerprint_of(_files(directory))
    except OSError:
        return ()


def fingerprint_of(paths: Iterable[Path]) -> Fingerprint:
    """The same of these files."""
    found: list[tuple[str, int, int, int]] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue  # a file that goes away under our eyes differs from the last look, and so does the next
        found.append((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)
