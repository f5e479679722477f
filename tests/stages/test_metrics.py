"""Metrics: what is counted, and that callers cannot make series at will."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from metered import exchange, said
from mitmesh.dialects.base import Operation, Usage
from mitmesh.exchange import Action, Billing, Connection, ConnectionKind, Mode, Outcome, Verdict
from mitmesh.quotas.rows import Row
from mitmesh.stages.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples as Prometheus reads them, by name and labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def observed(metrics: Metrics, **given: Any) -> Any:
    """An exchange with a usage and a price, seen by the metrics."""
    usage, cost = given.pop("usage", Usage(prompt=10, completion=5)), given.pop("cost", 1_500_000)
    billing = given.pop("billing", Billing.METERED)
    x = exchange(**given)
    x.usage, x.cost, x.billing = usage, cost, billing
    x.identity.namespace = "search"
    metrics.finish(x)
    return x


def test_tokens_and_cost() -> None:
    """Tokens are counted by type under the model's name in the price list, dollars as dollars."""
    metrics = Metrics()
    usage = Usage(100, 20, cache_read=30, cache_write_5m=4, cache_write_1h=5, reasoning=6)
    observed(metrics, usage=usage, model="gpt-4o-2024-08-06")
    observed(metrics, usage=usage, model="gpt-4o")
    by = {"namespace": "search", "model": "gpt-4o"}
    told = {"prompt": 200, "completion": 40, "cache_read": 60}
    told |= {"cache_write_5m": 8, "cache_write_1h": 10, "reasoning": 12}
    assert {kind: value(metrics, "mesh_llm_tokens_total", type=kind, **by) for kind in told} == told
    assert value(metrics, "mesh_llm_cost_est_total", **by) == 3.0


@pytest.mark.parametrize(
    ("billing", "dollars"),
    [(Billing.METERED, 1.5), (Billing.UNKNOWN, 1.5), (Billing.SUBSCRIPTION, None), (Billing.LOCAL, None)],
)
def test_dollars_only_where_they_are_paid(billing: Billing, dollars: float | None) -> None:
    """A plan's or a local model's notional cost is not in the dollars."""
    metrics = Metrics()
    observed(metrics, billing=billing)
    assert value(metrics, "mesh_llm_cost_est_total", namespace="search", model="gpt-4o-mini") == dollars


def test_unknown_price_and_estimates() -> None:
    """Usage without a price, and usage that we counted, have counters of their own."""
    metrics = Metrics()
    answer = said(model="new-model")
    observed(metrics, cost=None, model="caller's text", answer=answer, usage=Usage(1, 1, estimated=True))
    assert value(metrics, "mesh_unknown_price_total", provider="openai", model="new-model") == 1
    assert value(metrics, "mesh_estimated_usage_total") == 1
    assert value(metrics, "mesh_llm_tokens_total", namespace="search", model="other", type="prompt") == 1
    assert b"caller's" not in metrics.render()


@pytest.mark.parametrize(
    ("given", "method", "endpoint", "status"),
    [
        ({}, "POST", "/v1/chat/completions", "200"),
        ({"status": None, "outcome": Outcome.CLIENT_GONE}, "POST", "/v1/chat/completions", "none"),
        ({"status": 100_000}, "POST", "/v1/chat/completions", "none"),
        ({"operation": Operation.MODELS}, "GET", "models", "200"),
        ({"operation": Operation.OTHER}, "BREW", "other", "200"),
    ],
)
def test_requests(given: dict[str, Any], method: str, endpoint: str, status: str) -> None:
    """Calls are counted by method, endpoint and status, by namespace, and by how they ended; all bounded."""
    metrics = Metrics()
    x = exchange(**given)
    x.method = method
    metrics.finish(x)
    known = method if method != "BREW" else "other"
    assert value(metrics, "mesh_requests_total", method=known, endpoint=endpoint, status_code=status) == 1
    assert value(metrics, "mesh_http_requests_total", namespace="none", status=status) == 1
    assert x.outcome is not None
    assert value(metrics, "mesh_outcomes_total", outcome=x.outcome.value) == 1


def test_verdicts() -> None:
    """Each verdict is counted with its rule and whether it was acted on."""
    metrics = Metrics()
    x = exchange()
    x.verdicts = [Verdict("quota", Action.REFUSE, "team-day", Mode.OBSERVE, "v", "over")] * 2
    metrics.finish(x)
    labels = {"stage": "quota", "action": "refuse", "rule": "team-day", "mode": "observe"}
    assert value(metrics, "mesh_verdicts_total", **labels) == 2


def test_times() -> None:
    """Durations are in seconds from the request's arrival; a first token that never came is not counted."""
    metrics = Metrics()
    x = exchange()
    x.times.received, x.times.first_token, x.times.done = 100.0, 100.2, 103.0
    x.times.stages = {"redact": 0.0002}
    metrics.finish(x)
    x.times.first_token = None
    metrics.finish(x)
    assert value(metrics, "mesh_request_duration_seconds_sum") == pytest.approx(6.0)
    assert value(metrics, "mesh_first_token_seconds_count") == 1
    assert value(metrics, "mesh_first_token_seconds_bucket", le="0.25") == 1
    assert value(metrics, "mesh_stage_seconds_bucket", stage="redact", le="0.00025") == 2
    assert value(metrics, "mesh_stage_seconds_bucket", stage="redact", le="0.0001") == 0


def test_connections_and_what_is_read_when_asked() -> None:
    """Connections are counted by kind; open exchanges, failures and the audit's numbers are as of now."""
    metrics = Metrics()
    metrics.connection(Connection(ConnectionKind.TUNNELLED, "10.0.0.1", "example.com", 443))
    metrics.watched.open_exchanges = lambda: 3
    metrics.watched.stage_failures = lambda: {"cache": 2}
    metrics.watched.audit = lambda: {"queued_rows": 7}
    assert value(metrics, "mesh_connections_total", kind="tunnelled") == 1
    assert value(metrics, "mesh_open_exchanges") == 3
    assert value(metrics, "mesh_stage_failures_total", stage="cache") == 2
    assert value(metrics, "mesh_audit_queued_rows") == 7


def test_series_are_bounded() -> None:
    """Thousands of made-up models, namespaces, rules and methods make no more series than a few."""
    metrics = Metrics(most=20)
    for number in range(2_000):
        x = exchange(model=f"claude-sonnet-4-5-{number}", provider="anthropic", answer=said(model=f"junk-{number}"))
        x.identity.namespace, x.method, x.status = f"namespace-{number}", f"M{number}", 200
        x.usage, x.cost = Usage(1, 1), None
        x.verdicts = [Verdict("policy", Action.WARN, f"rule-{number}", Mode.ENFORCE, "v", "r")]
        metrics.finish(x)
    assert len(samples(metrics)) < 250


def test_two_registries_do_not_meet() -> None:
    """Each Metrics has its own registry, and nothing is in it of the process or of another."""
    metrics = Metrics()
    observed(Metrics())
    assert all(name.startswith("mesh_") for name, _ in samples(metrics))
    assert value(metrics, "mesh_outcomes_total", outcome="answered") is None


def test_limits() -> None:
    """Sums of a limit's subjects, and the fullest; money in dollars."""
    metrics = Metrics()
    rows = [
        Row("usd", "dollars", "user=a", 1_500_000, 500_000, 0, 10_000_000, None),
        Row("usd", "dollars", "user=b", 9_000_000, 0, 0, 10_000_000, None),
        Row("none", "tokens", "", 0, 0, 0, 0, None),
    ]
    metrics.watched.quota = lambda: rows
    labels = {"limit": "usd", "unit": "dollars"}
    get = metrics.registry.get_sample_value
    assert get("mesh_quota_used", labels) == 10.5
    assert get("mesh_quota_reserved", labels) == 0.5
    assert get("mesh_quota_fullest_ratio", labels) == 0.9
    assert get("mesh_quota_fullest_ratio", {"limit": "none", "unit": "tokens"}) == 1.0
