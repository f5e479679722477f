"""The Grafana dashboard: each of its queries finds something in the metrics that exist, asked of a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from metered import exchange, said
from mitmesh.control import Control
from mitmesh.dialects.base import Usage
from mitmesh.exchange import Action, Billing, Cached, Connection, ConnectionKind, Layer, Mode, Outcome
from mitmesh.launch import ports
from mitmesh.quotas.rows import Row
from mitmesh.stages.cache import Cache
from mitmesh.stages.metrics import Metrics

DASHBOARD = Path(__file__).parents[2] / "dashboards" / "mitmesh.json"
PROMETHEUS = shutil.which("prometheus")
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}
scrape_configs: [{{job_name: mitmesh, static_configs: [{{targets: ["{target}"]}}]}}]
"""
CACHE = tuple(Cache(Path("not started")).counters())
UNSHOWN = {f"mesh_audit_{name}" for name in ("batches", "interrupted")}
UNSHOWN |= {f"mesh_cache_{name}" for name in ("memory_bytes", "written", "evicted")}
AUDIT = (
    "queued",
    "dropped",
    "dropped_texts",
    "written",
    "lost",
    "failures",
    "batches",
    "commit_seconds",
    "interrupted",
)


def dashboard() -> dict[str, Any]:
    doc: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return doc


def targets() -> Iterator[tuple[str, str, str]]:
    """Panel, query and legend of each."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target.get("legendFormat", "")


def live(metrics: Metrics, times: int) -> None:
    """A little of everything."""
    usage = Usage(prompt=1_000, completion=100, cache_read=600, cache_write_5m=5, cache_write_1h=5, reasoning=9)
    for outcome, status in ((Outcome.ANSWERED, 200), (Outcome.REFUSED, 403), (Outcome.UPSTREAM_FAILED, 502)):
        x = exchange(outcome=outcome, status=status, answer=said())
        x.usage, x.cost, x.billing = usage, 1_000, Billing.METERED
        x.identity.namespace = "search"
        x.times.own, x.times.stages = 0.0004, {"scope": 0.0001}
        x.times.first_token, x.times.done = x.times.received + 0.3, x.times.received + 1.0
        x.cache, x.vendor_saved = Cached(Layer.EXACT, saved=500), 300
        x.decide("policy", Action.REFUSE, "models", "no", mode=Mode.OBSERVE)
        metrics.finish(x)
    unknown = exchange(model="new", answer=said(model="new"))
    unknown.usage = Usage(1, 1, estimated=True)
    metrics.finish(unknown)
    metrics.connection(Connection(ConnectionKind.DECRYPTED, "127.0.0.1", "api.openai.com", 443))
    metrics.watched.open_exchanges = lambda: 2
    metrics.watched.stage_failures = lambda: {"cache": times}
    metrics.watched.audit = lambda: {name: float(times) for name in AUDIT}
    metrics.watched.quota = lambda: [Row("team-day", "tokens", "team=red", 900, 50, 0, 1_000, None)]
    metrics.watched.cache = lambda: {name: float(times) for name in CACHE}


def test_it_names_what_exists() -> None:
    """Every metric a query or variable names exists, and every label a legend shows is one its query keeps."""
    metrics = Metrics()
    live(metrics, 1)
    families = text_string_to_metric_families(metrics.render().decode())
    names = {sample.name for family in families for sample in family.samples}
    asked = [expr for _, expr, _ in targets()]
    for variable in dashboard()["templating"]["list"][1:]:
        asked.append(variable["query"]["query"])
    assert len(asked) > 25
    for expr in asked:
        assert set(re.findall(r"mesh_\w+", expr)) <= names, expr
    for _, expr, legend in targets():
        kept = {word for group in re.findall(r"by \(([^)]*)\)", expr) for word in group.split(", ")}
        assert set(re.findall(r"{{(\w+)}}", legend)) <= kept, expr


def test_every_metric_is_shown() -> None:
    """No metric is counted that no panel shows."""
    metrics = Metrics()
    live(metrics, 1)
    shown = " ".join(expr for _, expr, _ in targets())
    families = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert {name for name in families if name not in shown} <= UNSHOWN


def test_panels_do_not_overlap() -> None:
    """Each place of the grid is one panel's, and ids are unique."""
    panels = dashboard()["panels"]
    places = [
        (x, y)
        for box in (panel["gridPos"] for panel in panels)
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) == 23
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.fixture
async def prometheus(tmp_path: Path) -> AsyncIterator[str]:
    """A Prometheus that has scraped our metrics while they grew; its URL."""
    metrics = Metrics()
    control = Control(lambda: {"status": "ready"}, lambda: (metrics.render(), metrics.content_type))
    await control.start("127.0.0.1", 0)
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(target=control.address))
    url = f"127.0.0.1:{ports.free()}"
    assert PROMETHEUS
    command = [PROMETHEUS, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={url}"], stdout=log, stderr=log)
    try:
        for times in range(1, 14):
            live(metrics, times)
            await asyncio.sleep(0.5)
            assert process.poll() is None, (tmp_path / "log").read_text()
        yield f"http://{url}"
    finally:
        process.terminate()
        process.wait(20)
        await control.stop()


@pytest.mark.slow
@pytest.mark.skipif(not PROMETHEUS, reason="no Prometheus on this machine (Debian: prometheus)")
async def test_each_query_finds_something(prometheus: str) -> None:
    """A real Prometheus takes every query, and answers it with numbers."""
    async with aiohttp.ClientSession() as session:
        for title, expr, _ in targets():
            query = expr.replace("$__rate_interval", "4s").replace("$namespace", ".*")
            async with session.get(prometheus + "/api/v1/query", params={"query": query}) as answer:
                said = await answer.json()
            assert said["status"] == "success", (title, expr, said.get("error"))
            values = [float(each["value"][1]) for each in said["data"]["result"]]
            assert values, (title, expr)
            assert all(value == value for value in values), (title, expr)
        async with session.get(prometheus + "/api/v1/label/namespace/values") as answer:
            assert "search" in (await answer.json())["data"]
