"""docs/metrics.md: what /metrics shows."""

from __future__ import annotations

from collections.abc import Iterator

from mitmesh.reference.markdown import page, table
from mitmesh.stages.metrics import Metrics


def metrics_markdown() -> str:
    """The page."""
    return page(
        "Metrics",
        "`/metrics` on the control port, in Prometheus' text format. The values of each label are bounded: a model is"
        " named as in the price list or is `other`, namespaces and rules are named up to a maximum. `mesh_audit_*` "
        "are the audit's own numbers: queued, dropped, dropped_texts, written, lost, failures, batches, "
        "commit_seconds, interrupted.",
        table(("metric", "kind", "labels", "meaning"), sorted(_rows(Metrics()))),
    )


def _rows(stage: Metrics) -> Iterator[tuple[str, str, str, str]]:
    for collector in list(stage.registry._collector_to_names):
        labels = getattr(collector, "_labelnames", ())
        for family in collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labelled = ", ".join(f"`{label}`" for label in labels or getattr(family, "_labelnames", ()))
            yield f"`{name}`", family.type, labelled or "–", family.documentation
