"""scripts/exec, scripts/doctor and scripts/why against a real mitmesh."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.certs import Authority
from e2e.conftest import reachable
from e2e.mesh import RAW_TEXT, ROOT, Mesh
from e2e.provider import Provider, Script, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="scripts/setup has not run here"),
]

ASK = """
import json, sys, urllib.request, urllib.error
body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}).encode()
url = sys.argv[1] + "/v1/chat/completions"
call = urllib.request.Request(url, body, {"authorization": "Bearer sk-x", "content-type": "application/json"})
try:
    with urllib.request.urlopen(call, timeout=20) as answer:
        print(answer.headers["x-mesh-id"])
except urllib.error.HTTPError as error:
    print(error.headers["x-mesh-id"])
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority) -> Iterator[Mesh]:
    """A mitmesh whose api.mistral.ai leads nowhere."""
    local = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names)}
    mesh = Mesh(tmp_path_factory.mktemp("tools"), resolve=names, trust=authority.ca, local=local).start()
    yield mesh
    mesh.stop()


class Tools:
    """Runs the scripts as a person would."""

    def __init__(self, mesh: Mesh, authority: Authority) -> None:
        unset = {"NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NO_PROXY", "no_proxy"}
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        self.environ = {**kept, "MITMESH_HOME": str(mesh.data), "SSL_CERT_FILE": str(authority.ca)}
        self.environ["HOME"] = str(mesh.folder)

    def __call__(self, script: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "scripts" / script), *words]
        return subprocess.run(command, env=self.environ | environ, capture_output=True, text=True, timeout=90)


@pytest.fixture(scope="module")
def tools(mesh: Mesh, authority: Authority) -> Tools:
    return Tools(mesh, authority)


def ask(host: str) -> list[str]:
    return ["--", sys.executable, "-c", ASK, f"https://{host}"]


def test_exec_is_transparent(tools: Tools) -> None:
    """The command's own exit code, arguments, folder and PYTHONPATH are its own; nothing else is printed."""
    code = "import os, sys; print(os.getcwd(), sys.argv[1:], os.environ.get('PYTHONPATH')); sys.exit(7)"
    done = tools("exec", "--", sys.executable, "-c", code, "a b", "--help", PYTHONPATH="mine")
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"{os.getcwd()} ['a b', '--help'] mine\n"
    assert tools("exec", "--", "no-such-command").returncode == 127


def test_exec_checks_first(tools: Tools, tmp_path: Path) -> None:
    """Where nothing runs the command is not started, for it would not be governed."""
    done = tools("exec", "--", "touch", str(tmp_path / "started"), MITMESH_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "start scripts/run" in done.stderr
    assert not (tmp_path / "started").exists()


def test_exec_prints_shell_code(tools: Tools, mesh: Mesh) -> None:
    """eval "$(scripts/exec --print)" makes the shell a governed one."""
    shell = f'eval "$("{ROOT}/scripts/exec" --print)"; echo "$HTTPS_PROXY"'
    done = subprocess.run(["bash", "-c", shell], env=tools.environ, capture_output=True, text=True)
    assert done.stdout.strip() == mesh.proxy


def test_doctor_finds_all_well(tools: Tools) -> None:
    """Each layer is named, and a shell without the proxy is told how to get it."""
    done = tools("doctor")
    assert done.returncode == 0, done.stdout
    for layer in ("running", "CA", "trusted", "governed", "upstream"):
        assert f"ok    {layer}" in done.stdout
    assert "scripts/exec -- COMMAND" in done.stdout


@pytest.mark.parametrize(
    ("words", "environ", "said", "code"),
    [
        ((), {"MITMESH_HOME": "/nowhere"}, ("FAIL  running", "next      scripts/run"), 1),
        (
            ("--host", "api.mistral.ai"),
            {},
            ("FAIL  upstream  api.mistral.ai could not", "--mode upstream"),
            1,
        ),
        (("--host", "plain.example"), {}, ("note  governed  plain.example was tunnelled",), 0),
        (
            (),
            {"NO_PROXY": "openai.com,corp.example"},
            ("FAIL  NO_PROXY", "past the proxy: openai.com\n"),
            1,
        ),
        (
            ("--host", "bank.example"),
            {},
            ("note  governed  bank.example is no LLM host by the rules", "rules/local/hosts.yaml"),
            0,
        ),
        (("--", "true"), {}, ("FAIL  proxy     nothing of it came to the proxy",), 1),
        (
            ("--", *ask("nowhere.example")[1:]),
            {},
            ("FAIL  upstream  nowhere.example could not be reached", "no fault of the command's"),
            1,
        ),
        (("--", "no-such"), {}, ("FAIL  command   no-such is not found",), 1),
        (("--", *ask("api.openai.com")[1:]), {}, ("ok    governed  1 calls are in the audit", "(answered)"), 0),
        (("--", *ask("plain.example")[1:]), {}, ("FAIL  governed  it called no LLM host: plain.example",), 1),
        (
            ("--", "env", "-u", "SSL_CERT_FILE", *ask("api.openai.com")[1:]),
            {},
            ("FAIL  pinned    it refuses our certificate for api.openai.com", "docs/clients.md"),
            1,
        ),
    ],
    ids=[
        "stopped",
        "upstream",
        "tunnelled",
        "no_proxy",
        "no LLM host",
        "past",
        "unreachable",
        "missing",
        "governed",
        "elsewhere",
        "pinned",
    ],
)
def test_doctor_names_the_layer(
    tools: Tools, words: tuple[str, ...], environ: dict[str, str], said: tuple[str, ...], code: int
) -> None:
    """Whatever is wrong, its layer and the next step are named, and the exit code says that something is."""
    done = tools("doctor", *words, **environ)
    for text in said:
        assert text in done.stdout, done.stdout + done.stderr
    assert done.returncode == code


def test_doctor_credits_a_command_with_its_own_calls(tools: Tools, mesh: Mesh) -> None:
    """What another client calls meanwhile is not the command's; what fails before it calls is not blind to us."""
    code = (
        "import os, subprocess, sys\n"
        "del os.environ['https_proxy'], os.environ['HTTPS_PROXY']\n"
        "os.environ['HTTPS_PROXY'] = sys.argv[1]\n"
        "subprocess.run([sys.executable, '-c', *sys.argv[2:]], check=True)\n"
    )
    done = tools("doctor", "--", sys.executable, "-c", code, mesh.proxy, *ask("api.openai.com")[3:])
    assert "FAIL  proxy     nothing of it came to the proxy; 1 calls of others did" in done.stdout
    assert "governed  1 calls" not in done.stdout
    done = tools("doctor", "--", "false")
    assert "it failed before it called anybody" in done.stdout
    assert "HTTPS_PROXY" not in done.stdout


def test_doctor_sees_clock_and_http3(tools: Tools, provider: Provider) -> None:
    """An answer from another time, and one that offers HTTP/3."""
    headers = (("date", "Mon, 02 Jan 2023 00:00:00 GMT"), ("alt-svc", 'h3=":443"; ma=86400'))
    provider.script(Script(headers=headers))
    done = tools("doctor")
    assert "note  HTTP/3    api.openai.com offers it" in done.stdout
    assert "FAIL  clock" in done.stdout
    assert "s ahead" in done.stdout


def test_doctor_tells_of_rules_that_are_wrong(tools: Tools, mesh: Mesh) -> None:
    """Rules that were not taken over are a fault, in the log's own words."""
    mesh.overlay("routes.yaml", "nonsense: 1\n")
    try:
        wait_for(lambda: mesh.health()["warnings"], "the warning")
        assert "FAIL  rules     local/routes.yaml" in (said := tools("doctor").stdout) or "FAIL  rules" in said
        done = tools("doctor", NO_PROXY="corp.example")
        assert "note  NO_PROXY  nobody can say" in done.stdout and "Traceback" not in done.stderr
        done = tools("exec", "--", "printenv", "NO_PROXY", NO_PROXY="corp.example")
        assert (done.returncode, done.stdout) == (0, "\n")
        assert "or cannot be read" in done.stderr
    finally:
        (mesh.rules / "local" / "routes.yaml").unlink()
        wait_for(lambda: not mesh.health()["warnings"], "good rules")


def test_doctor_knows_a_host_the_ca_may_not_sign_for(tools: Tools, mesh: Mesh) -> None:
    """A host that was added outside the CA's constraints needs a rotation, not another file."""
    mesh.overlay("hosts.yaml", "hosts:\n  - {id: new, match: [llm.new-corp.example], provider: new}\n")
    try:
        wait_for(lambda: mesh.health()["warnings"], "the warning")
        assert "next      scripts/ca rotate" in tools("doctor").stdout
    finally:
        (mesh.rules / "local" / "hosts.yaml").unlink()
        wait_for(lambda: not mesh.health()["warnings"], "good rules")


def test_why_steers_no_terminal(tools: Tools, mesh: Mesh) -> None:
    """What a client names cannot move the cursor of who asks about it."""
    code = ASK.replace("gpt-4o-mini", "gpt\\u001b[2Jx\\u009b")
    call = tools("exec", "--", sys.executable, "-c", code, "https://api.openai.com").stdout.strip()
    mesh.exchange(call)
    said = tools("why", call).stdout
    assert "gpt?[2Jx?" in said and not {"\x1b", "\x9b"} & set(said)


def test_why(tools: Tools, provider: Provider, mesh: Mesh) -> None:
    """An answered call, a provider's error, and a provider that is not there: whose each was."""
    answered = tools("exec", *ask("api.openai.com")).stdout.strip()
    mesh.exchange(answered)
    said = tools("why", answered.lower()).stdout
    assert "call      chat gpt-4o-mini openai api.openai.com forward, dialect openai_chat" in said
    assert "outcome   answered in full (HTTP 200)" in said
    assert "whose     the provider's own answer" in said
    assert "scope" in said and " ms" in said
    assert "tokens    " in said and "cost      $" in said

    provider.script(Script(status=429, body=b'{"error": {"message": "slow down"}}'))
    limited = tools("exec", *ask("api.openai.com")).stdout.strip()
    mesh.exchange(limited)
    assert "whose     the provider's own error; mitmesh passed it on" in tools("why", limited).stdout

    nowhere = tools("exec", *ask("api.mistral.ai")).stdout.strip()
    mesh.exchange(nowhere)
    said = tools("why", "last").stdout
    assert nowhere in said
    assert "the provider could not be reached" in said
    assert "written by mitmesh, because no answer came" in said

    done = tools("why", "0" * 26)
    assert done.returncode == 1
    assert "the audit has no such call" in done.stderr


def test_why_without_an_audit(tools: Tools, tmp_path: Path) -> None:
    """One line, no traceback."""
    done = tools("why", "last", MITMESH_HOME=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
