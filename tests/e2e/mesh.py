"""The real thing as a subprocess: mitmdump with the whole suite, on free ports, with its own state and rules."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from e2e.provider import Provider, wait_for
from e2e.sdks import Way

ROOT = Path(__file__).resolve().parents[2]
MITMDUMP = "import sys; from mitmproxy.tools.main import mitmdump; sys.exit(mitmdump())"
START_SECONDS = 40.0
RAW_TEXT = "audit:\n  content: full\n  text: raw\n"
"""A mesh.yaml that keeps texts as they are, there being no redaction yet."""
LOCAL = {"cache.yaml": "exact: false\n", "pii.yaml": "finder:\n  workers: 1\n"}
"""Rules of every mitmesh here that says nothing else: most tests ask the same twice, and mean the provider; and one
process that searches is started in less time than two."""
WAYS = ["forward-h1", "forward-h2", "gateway"]
"""How a client can reach a provider through mitmesh."""


class Mesh:
    """One running mitmesh.

    `resolve` sends "name:port" to a provider; `local` are files of rules/local/ by name; `scripts` the doors to load,
    `options` further arguments of mitmdump, `without` those of ours to leave out, `environ` further variables of its
    environment.
    """

    def __init__(
        self,
        folder: Path,
        *,
        resolve: Mapping[str, Provider],
        trust: Path,
        local: Mapping[str, str] | None = None,
        scripts: Sequence[str] = ("stack",),
        options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        without: Sequence[str] = (),
    ) -> None:
        self.folder, self.data, self.rules, self.confdir = folder, folder / "data", folder / "rules", folder / "ca"
        self.log_file = folder / "log.txt"
        self.resolve, self.trust = resolve, trust
        self.scripts, self.options, self.environ = scripts, options, environ or {}
        self.without = without
        self.process: subprocess.Popen[bytes] | None = None
        self.run: dict[str, Any] = {}
        for path in (folder, self.data, self.confdir):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.rules.exists():
            shutil.copytree(ROOT / "rules", self.rules)
            for file in (self.rules / "local").glob("*.yaml"):
                file.unlink()
        for name, text in {**LOCAL, **(local or {})}.items():
            self.overlay(name, text)

    def overlay(self, name: str, text: str) -> None:
        """Write one file of rules/local/ (replaced in one step, as an editor does)."""
        target = self.rules / "local" / name
        target.parent.mkdir(exist_ok=True)
        draft = target.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(target)

    # --- the process ---

    def start(self) -> Mesh:
        """Start it, and wait until it says that it is ready; AssertionError with its log if it does not."""
        self.launch()
        wait_for(self._ready, f"mitmesh is ready; its log:\n{self.log()}", START_SECONDS)
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, not waiting for anything."""
        (self.data / "run.json").unlink(missing_ok=True)
        arguments = [sys.executable, "-c", MITMDUMP]
        arguments += ["-s", str(Path(__file__).with_name("resolve.py"))]
        for script in self.scripts:
            arguments += ["-s", str(ROOT / "addons" / f"{script}.py")]
        settings = {
            "server": "false",  # as scripts/run: mitmproxy would open *:8080 before any script is loaded
            "confdir": self.confdir,
            "ssl_verify_upstream_trusted_ca": self.trust,
            "mesh_rules": self.rules,
            "mesh_data": self.data,
            "mesh_listen": "127.0.0.1:0",
            "mesh_gateway": "127.0.0.1:0",
            "mesh_control": "127.0.0.1:0",
        }
        for name in settings.keys() - set(self.without):
            arguments += ["--set", f"{name}={settings[name]}"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*arguments, *self.options], env=self._environ(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self.process

    def _environ(self) -> dict[str, str]:
        unwanted = ("SSLKEYLOGFILE", "SSL_CERT_FILE", "PYTHONPATH")
        kept = {k: v for k, v in os.environ.items() if k not in unwanted and not k.lower().endswith("_proxy")}
        table = ",".join(f"{name}=127.0.0.1:{provider.port}" for name, provider in self.resolve.items())
        return {**kept, "MESH_TEST_RESOLVE": table, "HOME": str(self.folder), **self.environ}

    def _ready(self) -> bool:
        assert self.process is not None
        if (code := self.process.poll()) is not None:
            raise AssertionError(f"mitmesh ended with {code}; its log:\n{self.log()}")
        try:
            self.run = json.loads((self.data / "run.json").read_text())
            return self.health().get("status") != 0
        except (OSError, ValueError):
            return False

    def stop(self) -> int:
        """SIGTERM, as a service manager does; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError(f"SIGTERM did not end mitmesh; its log:\n{self.log()}") from None

    def kill9(self) -> None:
        """SIGKILL: nothing is said goodbye to."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    # --- what it says ---

    @property
    def proxy(self) -> str:
        """URL of the forward proxy."""
        return f"http://{self.run['proxy']}"

    @property
    def gateway(self) -> str:
        """URL of the gateway, without /v1."""
        return f"http://{self.run['gateway']}"

    @property
    def ca(self) -> Path:
        """The certificate that clients must trust."""
        return self.data / "ca" / "mitmproxy-ca-cert.pem"

    def way(self, name: str) -> Way:
        """One of WAYS through this mitmesh."""
        if name == "gateway":
            return Way(name, self.ca, base=self.gateway)
        return Way(name, self.ca, proxy=self.proxy, http2=name == "forward-h2")

    def log(self) -> str:
        """All that was logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def control(self, path: str) -> bytes:
        """GET from the control port."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.run['control']}{path}", timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def health(self) -> dict[str, Any]:
        """/health's JSON; raises an OSError while it does not answer 200."""
        doc: dict[str, Any] = json.loads(self.control("/health"))
        return doc

    # --- what it wrote down ---

    def rows(self, query: str, *values: Any, database: str = "audit") -> list[dict[str, Any]]:
        """Rows of audit.db (or content.db) as they are on disk now; none while the file is not there."""
        file = self.data / f"{database}.db"
        if not file.exists():
            return []
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]
        finally:
            connection.close()

    def exchange(self, exchange_id: str) -> dict[str, Any]:
        """The audit's row of a finished exchange, once it is on disk."""
        query = "select * from exchanges where id = ? and outcome is not null"
        return wait_for(lambda: self.rows(query, exchange_id), f"audit row of {exchange_id}")[0]

    def exchanges(self, count: int) -> list[dict[str, Any]]:
        """All finished exchanges, once there are that many, oldest first."""
        query = "select * from exchanges where outcome is not null order by id"
        return wait_for(lambda: len(rows := self.rows(query)) >= count and rows, f"{count} audit rows") or []
