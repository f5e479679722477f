"""Prometheus series that are bounded and quick: labels with a maximum, and children found without a lock."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

OTHER = "other"
NONE = "none"


class Bounded:
    """A label's values: as they come while there is room, then `other`; None and "" are `none`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __call__(self, value: str | None) -> str:
        """The label to use for `value`."""
        if not value:
            return NONE
        if value not in self._seen:
            if len(self._seen) >= self._most or len(value) > 100:
                return OTHER
            self._seen.add(value)
        return value


class Series[M: MetricWrapperBase]:
    """A metric's children by their labels; prometheus-client's own lookup takes a lock and five times as long."""

    def __init__(self, metric: M) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        """The child with these labels, made when it is new. Callers bound the labels."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(*labels)
        return child
