"""Counters and timings for Prometheus, from exchanges that are finished.

Every label has a bounded set of values, whatever callers send: a model is named as in the price list, or `other`;
namespaces and rules are named up to a maximum, then `other`. Nothing a caller wrote becomes a label but those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from mitmesh import prices
from mitmesh.caching.prompt_cache import were_set
from mitmesh.dialects.base import Operation, Usage
from mitmesh.exchange import Billing
from mitmesh.series import NONE, OTHER, Bounded, Series
from mitmesh.stage import Stage

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from mitmesh.exchange import Cached, Connection, Exchange
    from mitmesh.quotas.rows import Row

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double every series and nobody asks for them

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_STAGE_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 10)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_ENDPOINTS = {
    ("openai_chat", Operation.CHAT): "/v1/chat/completions",
    ("openai_responses", Operation.CHAT): "/v1/responses",
    ("openai_embeddings", Operation.EMBEDDINGS): "/v1/embeddings",
    ("anthropic", Operation.CHAT): "/v1/messages",
    ("anthropic", Operation.COUNT_TOKENS): "/v1/messages/count_tokens",
    ("gemini", Operation.CHAT): "/v1beta/models/generateContent",
    ("gemini", Operation.EMBEDDINGS): "/v1beta/models/embedContent",
    ("gemini", Operation.COUNT_TOKENS): "/v1beta/models/countTokens",
}


_HELD = frozenset({"entries", "memory_entries", "memory_bytes", "flights", "vectors", "semantic_up"})
"""What the cache holds now, of its numbers; the others only grow."""


class Watched(Collector):
    """What is read when asked, not counted as it happens: callbacks that others set."""

    def __init__(self) -> None:
        self.open_exchanges: Callable[[], int] = lambda: 0
        self.stage_failures: Callable[[], Mapping[str, int]] = dict
        self.audit: Callable[[], Mapping[str, float]] = dict
        self.cache: Callable[[], Mapping[str, float]] = dict
        self.quota: Callable[[], Sequence[Row]] = tuple
        self.quota_lost: Callable[[], int] = lambda: 0

    def collect(self) -> Iterator[Metric]:
        """The values at this moment."""
        yield GaugeMetricFamily("mesh_open_exchanges", "Exchanges not yet finished.", self.open_exchanges())
        failures = CounterMetricFamily("mesh_stage_failures", "Failures of a stage, of any hook.", labels=["stage"])
        for stage, number in self.stage_failures().items():
            failures.add_metric([stage], number)
        yield failures
        yield from _quota(self.quota())
        yield CounterMetricFamily(
            "mesh_quota_lost", "Calls that could not be settled with the ledger.", self.quota_lost()
        )
        for name, value in self.audit().items():
            kind = GaugeMetricFamily if name.startswith("queued") else CounterMetricFamily
            yield kind(f"mesh_audit_{name}", f"The audit's {name.replace('_', ' ')}.", value)
        for name, value in self.cache().items():
            kind = GaugeMetricFamily if name in _HELD else CounterMetricFamily
            yield kind(f"mesh_cache_{name}", f"The cache's {name.replace('_', ' ')}.", value)


def _quota(rows: Sequence[Row]) -> Iterator[Metric]:
    """How full the limits are; of one with a count for each subject, the sums, and the fullest of them."""
    labels = ["limit", "unit"]
    used = GaugeMetricFamily("mesh_quota_used", "Used of a limit in its window, all subjects.", labels=labels)
    reserved = GaugeMetricFamily("mesh_quota_reserved", "Set aside by running calls, all subjects.", labels=labels)
    full = GaugeMetricFamily("mesh_quota_fullest_ratio", "How full a limit's fullest subject is.", labels=labels)
    by_limit: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_limit.setdefault((row.limit, row.unit), []).append(row)
    for place, found in by_limit.items():
        scale = 1_000_000 if place[1] == "dollars" else 1
        used.add_metric(place, sum(row.used for row in found) / scale)
        reserved.add_metric(place, sum(row.reserved for row in found) / scale)
        full.add_metric(place, max((row.used + row.reserved) / row.of if row.of else 1.0 for row in found))
    yield from (used, reserved, full)


class Metrics(Stage):
    """Counts every finished exchange and every connection; `render()` is what /metrics answers.

    `most` bounds the namespaces, and the rules, that are named. `watched` takes the callbacks for what is read when
    asked: open exchanges, failures by stage, and the audit's own numbers (each becomes `mesh_audit_<name>`, a
    gauge where it begins with `queued`, else a counter).
    """

    name = "metrics"
    content_type = CONTENT_TYPE_LATEST

    def __init__(self, *, most: int = 200) -> None:
        self.registry = CollectorRegistry()
        self.watched = Watched()
        self.registry.register(self.watched)
        self._namespace, self._rule, self._unpriced = Bounded(most), Bounded(most), Bounded(50)
        self._tokens = self._counter("mesh_llm_tokens", _TOKENS_HELP, "namespace", "model", "type")
        self._cost = self._counter("mesh_llm_cost_est", _COST_HELP, "namespace", "model")
        self._answers = self._counter("mesh_http_requests", "Calls by namespace.", "namespace", "status")
        self._requests = self._counter("mesh_requests", "Calls by endpoint.", "method", "endpoint", "status_code")
        self._verdicts = self._counter("mesh_verdicts", "Stages' decisions.", "stage", "action", "rule", "mode")
        self._outcomes = self._counter("mesh_outcomes", "How exchanges ended.", "outcome")
        self._unknown = self._counter("mesh_unknown_price", "Usage that no price is known for.", "provider", "model")
        self._connections = self._counter("mesh_connections", "Connections by what was done with them.", "kind")
        self._lookups = self._counter("mesh_cache_lookups", _LOOKUPS_HELP, "result")
        self._hits = self._counter("mesh_cache_hits", "Calls answered from the cache.", "layer")
        self._saved = self._counter("mesh_cache_saved_usd", "Dollars that cached answers had cost before.", "layer")
        self._vendor = Gauge("mesh_cache_vendor_saved_usd", _VENDOR_HELP, ["breakpoints"], registry=self.registry)
        self._stages = Series(self._histogram("mesh_stage_seconds", _STAGES_HELP, _STAGE_SECONDS, "stage"))
        self._duration = self._histogram("mesh_request_duration_seconds", "From request to end.", _SECONDS)
        self._first = self._histogram("mesh_first_token_seconds", "From request to first token.", _SECONDS)
        self._own = self._histogram("mesh_own_seconds", "Of a call's time, what it spent in mitmesh.", _STAGE_SECONDS)
        self._estimated = Counter("mesh_estimated_usage", "Usage counted by us.", registry=self.registry)

    def finish(self, x: Exchange) -> None:
        """Count one exchange."""
        namespace = self._namespace(x.identity.namespace)
        status = str(x.status) if x.status is not None and 100 <= x.status < 600 else NONE
        method = x.method if x.method in _METHODS else OTHER
        endpoint = _ENDPOINTS.get((x.dialect.name, x.operation), x.operation.value)
        self._answers(namespace, status).inc()
        self._requests(method, endpoint, status).inc()
        self._outcomes(x.outcome.value if x.outcome else NONE).inc()
        for verdict in x.verdicts:
            self._verdicts(verdict.stage, verdict.action.value, self._rule(verdict.rule_id), verdict.mode.value).inc()
        self._time(x)
        if x.cache is not None:
            self._cached(x.cache)
        if x.vendor_saved is not None:
            self._vendor.labels("mitmesh" if were_set(x) else "other").inc(x.vendor_saved / 1_000_000)
        if x.usage is not None:
            self._usage(x, namespace, x.usage)

    def connection(self, row: Connection) -> None:
        """Count one connection."""
        self._connections(row.kind.value).inc()

    def render(self) -> bytes:
        """All metrics in Prometheus' text format; its type is `content_type`."""
        return generate_latest(self.registry)

    def _time(self, x: Exchange) -> None:
        times = x.times
        self._duration.observe((times.done or time.monotonic()) - times.received)
        self._own.observe(times.own)
        if times.first_token is not None:
            self._first.observe(times.first_token - times.received)
        for stage, seconds in times.stages.items():
            self._stages(stage).observe(seconds)

    def _cached(self, had: Cached) -> None:
        self._lookups(had.layer.value).inc()
        if had.hit:
            self._hits(had.layer.value).inc()
            self._saved(had.layer.value).inc((had.saved or 0) / 1_000_000)

    def _usage(self, x: Exchange, namespace: str, usage: Usage) -> None:
        model = self._model(x)
        for kind, tokens in (
            ("prompt", usage.prompt),
            ("completion", usage.completion),
            ("cache_read", usage.cache_read),
            ("cache_write_5m", usage.cache_write_5m),
            ("cache_write_1h", usage.cache_write_1h),
            ("reasoning", usage.reasoning),
        ):
            if tokens > 0:
                self._tokens(namespace, model, kind).inc(tokens)
        if usage.estimated:
            self._estimated.inc()
        if x.cost is None:
            # Only a provider's own word is a name worth showing: what a caller wrote could be anything.
            served = x.answer.model if x.answer else None
            self._unknown(x.provider, self._unpriced(served)).inc()
        elif x.billing in (Billing.METERED, Billing.UNKNOWN):
            self._cost(namespace, model).inc(x.cost / 1_000_000)

    def _model(self, x: Exchange) -> str:
        """The model's name in the price list: dated snapshots and junk behind a known name make no series of their
        own."""
        served = x.answer.model if x.answer else None
        model = x.call.model or served
        tariff = model and prices.find(model, x.provider, x.started, x.rules.prices.prices, served=served)
        return tariff.name if tariff else OTHER

    def _counter(self, name: str, help: str, *labels: str) -> Series[Counter]:
        return Series(Counter(name, help, labels, registry=self.registry))

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help, labels, buckets=buckets, registry=self.registry)


_LOOKUPS_HELP = "Calls by what the cache had for them: exact, semantic, miss, off."
_VENDOR_HELP = "Dollars that providers' own prompt caches saved, less what writing cost, by who set breakpoints."
_STAGES_HELP = "Seconds each stage took before a call left."
_TOKENS_HELP = "Tokens; prompt has the cache's reads and writes in it, completion the reasoning."
_COST_HELP = "Dollars of calls that are or may be metered; not of plans, not of local models."
