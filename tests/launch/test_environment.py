"""What a governed command gets in its environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mitmesh.launch import ROOT, LaunchError, environment, trust

PLACES = {"proxy": "127.0.0.1:4321", "control": "none", "rules": str(ROOT / "rules")}
ONE = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "ca").mkdir()
    (tmp_path / environment.CA).write_text(ONE)
    return tmp_path


def variables(home: Path, **environ: str) -> dict[str, str]:
    return environment.variables(home, PLACES, environ)


def test_the_proxy_and_the_bundle(home: Path) -> None:
    """Proxy variables in both spellings; every variable that replaces a store names the bundle."""
    found = variables(home)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        assert found[name] == "http://127.0.0.1:4321"
    for name in (*trust.REPLACING, trust.ADDING):
        assert found[name] == str(home / "ca" / "bundle.pem")
    assert found["NODE_USE_ENV_PROXY"] == "1"
    assert "-Dhttps.proxyPort=4321" in found["JAVA_TOOL_OPTIONS"]
    assert variables(home, JAVA_TOOL_OPTIONS="-Xmx1g")["JAVA_TOOL_OPTIONS"].startswith("-Xmx1g -Dhttps")


def test_with_bad_rules_nothing_goes_past_us(home: Path, tmp_path: Path) -> None:
    """Where the rules on disk cannot be read, a command runs all the same, and nothing goes past the proxy."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "hosts.yaml").write_text("hosts: [{")
    places = {**PLACES, "rules": str(tmp_path / "rules")}
    found = environment.variables(home, places, {"NO_PROXY": "corp.example"})
    assert found["NO_PROXY"] == ""
    with pytest.raises(LaunchError, match=r"hosts\.yaml"):
        environment.past(["corp.example"], places)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("*", ""),
        ("corp.example,.intra.example 10.0.0.0/8", ",corp.example,.intra.example,10.0.0.0/8"),
        ("api.openai.com,corp.example", ",corp.example"),
        (".openai.com", ""),
        ("OpenAI.com", ""),
        ("com", ""),
        ("eu.api.openai.com", ""),
        ("*.anthropic.com", ""),
        ("localhost", ""),
    ],
)
def test_no_proxy_takes_no_llm_host_past_us(home: Path, given: str, kept: str) -> None:
    """What was excepted before stays so, but for what would take LLM hosts past the proxy."""
    found = variables(home, NO_PROXY=given)
    assert found["NO_PROXY"] == found["no_proxy"] == "localhost,127.0.0.1,::1" + kept


@pytest.mark.parametrize(
    ("match", "given", "kept"),
    [
        ("localhost:11434", "", ""),
        ("127.0.0.1:11434", "", ""),
        ("[::1]:11434", "127.0.0.0/8,api.localhost,corp.example", "corp.example"),
        ("localhost:11434", "localhost:3000,localhost:11434", "localhost:3000"),
        (
            "10.40.0.0/16:8000",
            "10.0.0.0/8,10.41.0.1,192.168.0.0/16",
            "localhost,127.0.0.1,::1,10.41.0.1,192.168.0.0/16",
        ),
        ("*.llm.corp.example", "corp.example,10.0.0.1", "localhost,127.0.0.1,::1,10.0.0.1"),
    ],
)
def test_an_llm_host_on_this_machine_or_network(home: Path, match: str, given: str, kept: str) -> None:
    """A model server that the rules list is governed under whatever name of loopback, or range, it would be called."""
    rules = home / "rules"
    rules.mkdir()
    for name in ("mesh", "hosts"):
        (rules / f"{name}.yaml").write_bytes((ROOT / "rules" / f"{name}.yaml").read_bytes())
    (rules / "local").mkdir()
    entry = {"id": "ollama", "match": [match], "provider": "ollama", "api": "compatible", "billing": "local"}
    (rules / "local" / "hosts.yaml").write_text(json.dumps({"hosts": [entry]}))
    found = environment.variables(home, {**PLACES, "rules": str(rules)}, {"NO_PROXY": given})
    assert found["NO_PROXY"] == found["no_proxy"] == kept
    none = "localhost" not in kept.split(",")
    assert ("-Dhttp.nonProxyHosts= " in found["JAVA_TOOL_OPTIONS"]) is none


@pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")
@pytest.mark.parametrize("name", ["plain", "with a space", 'it\'s "quoted"'])
def test_java_reads_the_path(tmp_path: Path, name: str) -> None:
    """Whatever signs the folder's name has, Java starts and has the store."""
    home = tmp_path / name
    (home / "ca").mkdir(parents=True)
    (home / environment.CA).write_text(ONE)
    options = variables(home)["JAVA_TOOL_OPTIONS"]
    command = ["java", "-XshowSettings:properties", "-version"]
    done = subprocess.run(command, env={**os.environ, "JAVA_TOOL_OPTIONS": options}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"javax.net.ssl.trustStore = {home / 'ca' / 'bundle.p12'}\n" in done.stderr


def test_nothing_runs(tmp_path: Path) -> None:
    """No run.json, or one of a process that is gone, is one line that says what to start."""
    for pid in (None, 2**22 + 1, "x"):
        if pid is not None:
            (tmp_path / "run.json").write_text(json.dumps({"pid": pid, **PLACES}))
        with pytest.raises(LaunchError, match="start scripts/run"):
            environment.running(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"pid": os.getpid(), **PLACES}))
    assert environment.running(tmp_path)["proxy"] == PLACES["proxy"]
    (tmp_path / "run.json").write_text(json.dumps({"pid": os.getpid(), **PLACES, "control": "127.0.0.1:1"}))
    with pytest.raises(LaunchError, match="not ready to govern"):
        environment.running(tmp_path)
