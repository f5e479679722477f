"""Count exchanges, tokens, verdicts and times for Prometheus, at the control port's /metrics."""

from mitmesh.engine import door

addons = door("metrics")
