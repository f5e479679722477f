from __future__ import annotations

import os
from pathlib import Path

import pytest

from mitmesh.exchange import Mode
from mitmesh.rules import Content, FailMode, Rules, RulesError, fingerprint, load

HOST = "hosts:\n  - id: a\n    match: [a.example]\n    provider: p\n"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    (folder / "local").mkdir(parents=True)
    (folder / "hosts.yaml").write_text(HOST)
    return folder


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(text)


def test_missing_files_are_defaults(rules: Path) -> None:
    """A folder with hosts.yaml alone, or with empty files, is all defaults."""
    snapshot = load(rules)
    assert snapshot.hosts.hosts[0].id == "a"
    assert snapshot.mesh == Rules().mesh and snapshot.identities == Rules().identities
    write(rules, "mesh", "")
    write(rules, "egress", "# none\n")
    assert load(rules).mesh == Rules().mesh


def test_a_folder_without_local(rules: Path) -> None:
    """local/ may be missing."""
    (rules / "local").rmdir()
    assert load(rules).hosts.hosts


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "hosts",
            HOST + "    status: fine\n",
            "rules/hosts.yaml:5: hosts[0].status: must be one of sanctioned, tolerated or blocked; found 'fine'",
        ),
        (
            "hosts",
            HOST + "    staus: blocked\n",
            "rules/hosts.yaml:5: hosts[0].staus: unknown field; did you mean status?",
        ),
        ("hosts", HOST + "    qqq: sk-1\n", "rules/hosts.yaml:5: hosts[0].qqq: unknown field; docs/rules.md lists the"),
        ("hosts", "hosts:\n  - id: a\n    match: [x]\n", "rules/hosts.yaml:2: hosts[0].provider: is required"),
        ("hosts", HOST.replace("[a.example]", "[]"), "rules/hosts.yaml:3: hosts[0].match: must not be empty"),
        ("hosts", HOST.replace("[a.example]", "a.example"), "rules/hosts.yaml:3: hosts[0].match: must be a list"),
        (
            "hosts",
            HOST.replace("[a.example]", "\n      - ok.example\n      - 'a.*'"),
            "rules/hosts.yaml:5: hosts[0].match[1]: must end in a literal label",
        ),
        (
            "hosts",
            HOST + "    api: nope\n",
            "rules/hosts.yaml:5: hosts[0].api: must name a table of apis (none); found",
        ),
        ("hosts", HOST + "    expires: soon\n", "rules/hosts.yaml:5: hosts[0].expires: must be a valid date"),
        ("hosts", HOST + "    reason: 5\n", "rules/hosts.yaml:5: hosts[0].reason: must be text; put it in quotes"),
        (
            "hosts",
            HOST + "    when: {network: 10.0.0.1/8}\n",
            "rules/hosts.yaml:5: hosts[0].when.network: has bits set",
        ),
        (
            "hosts",
            HOST + "    inject_headers: {Host: sk-1}\n",
            "rules/hosts.yaml:5: hosts[0].inject_headers.Host: must not",
        ),
        (
            "hosts",
            HOST + '    inject_headers: {x-a: "sk-1\\r\\nx"}\n',
            "rules/hosts.yaml:5: hosts[0].inject_headers.x-a: must be printable ASCII",
        ),
        (
            "hosts",
            HOST + "    inject_headers: {x-a: [sk-1]}\n",
            "rules/hosts.yaml:5: hosts[0].inject_headers.x-a: must be",
        ),
        (
            "hosts",
            HOST + "    inject_headers: sk-1\n",
            "rules/hosts.yaml:5: hosts[0].inject_headers: must be a mapping",
        ),
        ("hosts", "hosts: 5\n", "rules/hosts.yaml:1: hosts: must be a list"),
        ("hosts", "hosts: [a]\n", "rules/hosts.yaml:1: hosts[0]: must be a mapping of fields"),
        (
            "hosts",
            HOST + "apis: {x: [{path: v1, dialect: generic}]}\n",
            "rules/hosts.yaml:5: apis.x[0].path: must begin",
        ),
        ("mesh", "mode: maybe", "rules/mesh.yaml:1: mode: must be one of enforce or observe; found 'maybe'"),
        (
            "mesh",
            "\nlimits:\n  json_depth: 5",
            "rules/mesh.yaml:3: limits.json_depth: must be greater than or equal to 10",
        ),
        ("mesh", "limits: {json_depth: '50'}", "rules/mesh.yaml:1: limits.json_depth: must be a valid integer"),
        ("mesh", "ask_usage: 1", "rules/mesh.yaml:1: ask_usage: must be"),
        ("mesh", "fail_mode: {redcat: open}", "rules/mesh.yaml:1: fail_mode.redcat: must be a stage: scope, identity"),
        ("egress", "allow: [localhost]", "rules/egress.yaml:1: allow[0]: must be `host:port`"),
        (
            "routes",
            "providers: {p: {base_url: 'https://u:sk-1@x'}}",
            "rules/routes.yaml:1: providers.p.base_url: must have",
        ),
        (
            "routes",
            "providers: {p: {base_url: 'https://x', api_key: sk-1}}",
            "rules/routes.yaml:1: providers.p.api_key: "
            "must be env:NAME, file:PATH or none; never write the key itself here",
        ),
        ("routes", "providers: {p: sk-1}", "rules/routes.yaml:1: providers.p: must be a mapping of fields"),
        ("routes", "routes: [{id: r, provider: q}]", "rules/routes.yaml:1: routes[0].provider: must name an entry"),
        ("prices", "prices: [{model: m, input: -1, output: 1}]", "rules/prices.yaml:1: prices[0].input: must match"),
        (
            "identities",
            "unknown: refuse\nunknown_team: guests",
            "rules/identities.yaml:2: unknown_team: must not be given with `unknown: refuse`",
        ),
        (
            "identities",
            "networks:\n- {network: 10.0.0.0/8, team: a}\n- {network: 10.1.0.0/16}",
            "rules/identities.yaml:3: networks[1]: must have a team, a user or a namespace",
        ),
        ("identities", "models:\n- {id: a}", "rules/identities.yaml:2: models[0]: must have `allow` or `refuse`"),
        ("identities", "models:\n- {id: a, allow: []}", "rules/identities.yaml:2: models[0].allow: must not be empty"),
        ("identities", "networks: [{network: x}]", "rules/identities.yaml:1: networks[0].network: must be an address"),
        ("host", "", "rules/host.yaml: is no rules file; there are mesh.yaml, hosts.yaml"),
    ],
)
def test_mistakes(rules: Path, name: str, text: str, message: str) -> None:
    """Each mistake names file, line and field and what to do, and never a value that may be a secret."""
    write(rules, name, text)
    with pytest.raises(RulesError) as caught:
        load(rules)
    assert str(caught.value).startswith(message)
    assert "sk-1" not in str(caught.value)


def test_what_has_an_effect(rules: Path) -> None:
    """Ranges and teams that are left out of what follows them."""
    write(
        rules,
        "identities",
        "networks: [{network: 10.1.0.0/16}, {network: 10.0.0.0/8, team: a}]\n"
        "models: [{id: free, team: admins}, {id: rest, allow: ['gpt-*'], refuse: ['*-preview']}]\n"
        "unknown_team: guests\n",
    )
    assert load(rules).identities.unknown_team == "guests"


def test_mistake_in_local(rules: Path) -> None:
    """A mistake in the overlay is told with the overlay's file, line and index."""
    write(rules / "local", "hosts", "hosts:\n  - id: b\n    match: [b]\n    provider: p\n    action: pass\n")
    with pytest.raises(RulesError, match=r"^rules/local/hosts.yaml:5: hosts\[0\].action: must be one of decrypt"):
        load(rules)


def test_missing(rules: Path, tmp_path: Path) -> None:
    """Without a folder, or without hosts.yaml, nothing would be governed: an error, also when local has one."""
    with pytest.raises(RulesError, match="there is no such rules folder"):
        load(tmp_path / "nowhere")
    (rules / "hosts.yaml").rename(rules / "local" / "hosts.yaml")
    with pytest.raises(RulesError, match=r"rules/hosts.yaml: is missing"):
        load(rules)


def test_unreadable(rules: Path) -> None:
    """What is not a file is one clear error."""
    (rules / "mesh.yaml").mkdir()
    with pytest.raises(RulesError, match=r"^rules/mesh.yaml: cannot be read"):
        load(rules)


def test_editors_files_are_ignored(rules: Path) -> None:
    """Backups, swap files and other formats beside the rules are nobody's rules; `.yml` is a mistake worth telling."""
    for name in (".hosts.yaml.swp", "hosts.yaml~", "README.md", ".hidden.yaml"):
        (rules / name).write_text("x: [")
    load(rules)
    (rules / "mesh.yml").write_text("")
    with pytest.raises(RulesError, match=r"rules/mesh.yml: is no rules file"):
        load(rules)


def test_overlay(rules: Path) -> None:
    """local/ comes first, replaces by id, and merges fields."""
    write(rules, "mesh", "mode: enforce\nlimits: {stage_seconds: 7}\n")
    write(rules / "local", "mesh", "mode: observe\nlimits: {json_depth: 50}\n")
    write(
        rules / "local", "hosts", HOST.replace("id: a", "id: b") + HOST.removeprefix("hosts:\n").replace("p\n", "q\n")
    )
    snapshot = load(rules)
    assert snapshot.mesh.mode is Mode.OBSERVE
    assert (snapshot.mesh.limits.stage_seconds, snapshot.mesh.limits.json_depth) == (7, 50)
    assert [(host.id, host.provider) for host in snapshot.hosts.hosts] == [("b", "p"), ("a", "q")]


def test_version(rules: Path) -> None:
    """The version is 12 hex digits, the same for the same files, another for any other byte in any of them."""
    first = load(rules).version
    assert len(first) == 12 and int(first, 16) >= 0
    assert load(rules).version == first
    write(rules / "local", "mesh", "# a comment\n")
    second = load(rules).version
    (rules / "local" / "mesh.yaml").rename(rules / "mesh.yaml")
    assert len({first, second, load(rules).version}) == 3


def test_fingerprint(rules: Path, tmp_path: Path) -> None:
    """It changes with what is written, added, replaced and removed, and never raises."""
    seen = [fingerprint(rules)]
    assert fingerprint(rules) == seen[0]
    write(rules / "local", "mesh", "mode: observe")
    seen.append(fingerprint(rules))
    write(rules / "local", "mesh", "mode: enforced")
    seen.append(fingerprint(rules))
    os.utime(rules / "hosts.yaml", ns=(1, 1))
    seen.append(fingerprint(rules))
    (rules / "local" / "mesh.yaml").unlink()
    seen.append(fingerprint(rules))
    assert len(set(seen)) == len(seen)
    assert fingerprint(tmp_path / "nowhere") == ()
    (rules / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    fingerprint(rules)


@pytest.mark.parametrize(
    ("team", "mode", "content"),
    [
        (None, Mode.OBSERVE, Content.METADATA),
        ("red", Mode.ENFORCE, Content.METADATA),
        ("blue", Mode.OBSERVE, Content.FULL),
        ("other", Mode.OBSERVE, Content.METADATA),
    ],
)
def test_per_team(rules: Path, team: str | None, mode: Mode, content: Content) -> None:
    """A team's own word comes before the rules' own; a team without one has the rules'."""
    write(
        rules,
        "mesh",
        "mode: observe\nteams: {red: {mode: enforce}, blue: {}}\n"
        "fail_mode: {redact: open}\naudit: {content: metadata, content_by_team: {blue: full}}\n",
    )
    snapshot = load(rules)
    assert (snapshot.mode(team), snapshot.content(team)) == (mode, content)
    assert (snapshot.fail_mode("redact"), snapshot.fail_mode("quota")) == (FailMode.OPEN, FailMode.CLOSED)


def test_prices_keep_their_digits(rules: Path) -> None:
    """Prices may be written as numbers; none is ever a float."""
    write(rules, "prices", "prices: [{model: m, input: 3, output: 12.10, cache_read: '0.3'}]")
    price = load(rules).prices.prices[0]
    assert (price.input, price.output, price.cache_read) == ("3", "12.10", "0.3")
