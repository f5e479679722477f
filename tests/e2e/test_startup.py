"""What keeps calls from being governed ends the process at start, with one line that says what to do."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import MakeMesh
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.sdks import KEY, QUESTION
from mitmesh import options

BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": QUESTION}]}
HEADERS = {"authorization": f"Bearer {KEY}"}

UNWANTED: dict[str, Any] = {
    "connection_strategy": "eager",
    "stream_large_bodies": "1k",
    "body_size_limit": "1k",
    "ignore_hosts": ["api.openai.com"],
    "allow_hosts": ["example.com"],
    "tcp_hosts": ["api.openai.com"],
    "udp_hosts": ["api.openai.com"],
    "map_remote": ["|api.openai.com|example.com"],
    "map_local": ["|api.openai.com|/etc/hostname"],
    "modify_body": ["/hello/bye"],
    "modify_headers": ["/authorization/none"],
    "server_replay": ["/dev/null"],
    "client_replay": ["/dev/null"],
    "save_stream_file": "/dev/null",
    "flow_detail": 4,
    "hardump": "/dev/null",
    "rfile": "/dev/null",
    "block_list": [":~u openai:404"],
    "stickyauth": ".",
    "stickycookie": ".",
    "proxyauth": "any",
    "certs": ["/dev/null"],
    "cert_passphrase": "x",
    "add_upstream_certs_to_client_chain": True,
    "ssl_insecure": True,
    "validate_inbound_headers": False,
    "store_streamed_bodies": True,
    "keep_host_header": True,
}
"""For each option that is refused, a value that it would have to be refused for."""


def refused(mesh: Mesh) -> str:
    """Start it; it must end by itself, not with 0. The line of its log that says why."""
    assert mesh.launch().wait(40) not in (0, None)
    said = [line.partition("] ")[2] for line in mesh.log().splitlines() if "] mitmesh: " in line]
    assert len(said) == 1, mesh.log()
    assert "Traceback" not in mesh.log(), mesh.log()
    assert "is ready" not in mesh.log()
    assert not (mesh.data / "run.json").exists()
    return said[0].removeprefix("mitmesh: ")


def ask(mesh: Mesh) -> httpx.Response:
    """One call through the gateway."""
    return httpx.post(f"{mesh.gateway}/v1/chat/completions", json=BODY, headers=HEADERS, trust_env=False)


# --- rules ---


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("mesh.yaml", RAW_TEXT + "limit: {}\n", "rules/local/mesh.yaml:4: limit: unknown field; did you mean limits?"),
        ("hosts.yaml", "hosts:\n  - id: x\n    match: [\n", "rules/local/hosts.yaml:"),
        ("routes.yaml", "routes:\n  - {id: x, path: /v1/a, provider: nobody}\n", "rules/local/routes.yaml:2: routes"),
        ("mash.yaml", "a: 1\n", "rules/local/mash.yaml: is no rules file"),
    ],
)
def test_bad_rules(file: str, text: str, told: str, make_mesh: MakeMesh) -> None:
    """A mistake in the rules is one line with file, line and field."""
    assert told in refused(make_mesh(local={file: text}))


@pytest.mark.quick
def test_no_rules(make_mesh: MakeMesh) -> None:
    """Without hosts.yaml nothing would be governed."""
    mesh = make_mesh()
    (mesh.rules / "hosts.yaml").unlink()
    assert "nothing would be governed" in refused(mesh)


@pytest.mark.quick
def test_reload(make_mesh: MakeMesh, provider: Provider) -> None:
    """Changed rules hold at once and cost no call in flight its answer; a mistake in them leaves the old ones."""
    mesh = make_mesh().start()
    first = mesh.health()["policy_version"]
    provider.script(Script(hold=4))
    url = f"{mesh.gateway}/v1/chat/completions"
    with httpx.stream("POST", url, json={**BODY, "stream": True}, headers=HEADERS, trust_env=False) as answer:
        lines = answer.iter_lines()
        next(lines)

        blocked = "hosts:\n  - {id: mine, match: [api.openai.com], provider: openai, api: openai, status: blocked}\n"
        mesh.overlay("hosts.yaml", blocked)
        wait_for(lambda: mesh.health()["policy_version"] != first, "the new rules hold", 3)
        assert (ask(mesh).status_code, len(provider.calls)) == (403, 1)

        provider.release()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert (row["outcome"], row["policy_version"]) == ("answered", first)

    second = mesh.health()["policy_version"]
    mesh.overlay("hosts.yaml", blocked.replace("status", "stauts"))
    said = wait_for(lambda: mesh.health()["warnings"], "the mistake is told")[0]
    assert "rules/local/hosts.yaml:" in said
    assert "stay in force" in said
    assert said in mesh.log()
    assert (mesh.health()["policy_version"], ask(mesh).status_code) == (second, 403)

    mesh.overlay("hosts.yaml", "hosts: []\n")
    wait_for(lambda: not mesh.health()["warnings"], "it is mended")
    assert ask(mesh).status_code == 200


# --- ports and folders ---


@pytest.mark.parametrize("option", ["mesh_listen", "mesh_gateway", "mesh_control"])
def test_taken_port(option: str, make_mesh: MakeMesh) -> None:
    """A port in use is one line, and nothing listens on the others any more."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        said = refused(make_mesh(options=["--set", f"{option}=127.0.0.1:{port}"], without=[option]))
    assert option in said
    assert str(port) in said


@pytest.mark.parametrize(("option", "value"), [("mesh_listen", "8080"), ("mesh_control", "localhost:http")])
def test_bad_address(option: str, value: str, make_mesh: MakeMesh) -> None:
    """An address that is none names its option."""
    assert option in refused(make_mesh(options=["--set", f"{option}={value}"], without=[option]))


def test_unwritable_data(make_mesh: MakeMesh, tmp_path: Path) -> None:
    """A data folder that cannot be made, or whose files cannot, is one line with its name."""
    (tmp_path / "file").write_text("")
    mesh = make_mesh(options=["--set", f"mesh_data={tmp_path / 'file' / 'data'}"], without=["mesh_data"])
    assert str(tmp_path / "file") in refused(mesh)
    other = make_mesh()
    (other.data / "audit.db").mkdir()
    assert f"the audit in {other.data} cannot be opened" in refused(other)


# --- options ---


def test_every_refused_option_is_tried() -> None:
    """The tests below know of each."""
    assert UNWANTED.keys() == options.REFUSED.keys()


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("ignore_hosts", "save_stream_file", "ssl_insecure")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in UNWANTED
        if name not in options.SET and name != "certs"  # a real one: see test_ca
    ],
)
def test_refused_at_start(name: str, make_mesh: MakeMesh, tmp_path: Path) -> None:
    """An option that passes calls by the stages keeps mitmesh from starting."""
    value = UNWANTED[name]
    values = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else value]
    said = refused(make_mesh(options=[word for one in values for word in ("--set", f"{name}={one}")]))
    assert said.startswith(f"mitmproxy option {name} must be ")


@pytest.mark.quick
def test_refused_while_running(make_mesh: MakeMesh, tmp_path: Path, provider: Provider) -> None:
    """Nor can any of them be set later: the change fails, the old value stays, and calls are governed as before."""
    file = tmp_path / "try.json"
    mesh = make_mesh(scripts=("../tests/e2e/tries", "stack"), environ={"MESH_TEST_TRY": str(file)}).start()
    draft = tmp_path / "draft"
    draft.write_text(json.dumps(UNWANTED))
    draft.replace(file)
    wait_for(file.with_suffix(".done").exists, "the options were tried")
    said = json.loads(file.with_suffix(".done").read_text())
    for name in UNWANTED:
        assert "missing" not in said[name], f"mitmproxy has no option {name}"
        assert "OptionsError" in (said[name]["raised"] or ""), name
        assert said[name]["after"] == said[name]["before"], name
    answer = ask(mesh)
    assert (answer.status_code, answer.headers["x-mesh-origin"]) == (200, "provider")
    assert mesh.exchange(answer.headers["x-mesh-id"])["outcome"] == "answered"


@pytest.mark.quick
def test_unknown_option(make_mesh: MakeMesh) -> None:
    """A misspelt option is not silently without effect."""
    assert "mesh_drian" in refused(make_mesh(options=["--set", "mesh_drian=5"]))


def test_bad_value(make_mesh: MakeMesh) -> None:
    """Nor is a value that is none."""
    assert "mesh_drain" in refused(make_mesh(options=["--set", "mesh_drain=soon"]))
