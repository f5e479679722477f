"""What docs/ says is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mitmesh import options
from mitmesh.reference import PAGES
from mitmesh.reference.headers import HEADERS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    """`PYTHONPATH=addons python -m mitmesh.reference` makes it so."""
    assert (ROOT / "docs" / name).read_text() == PAGES[name]()


def test_every_header_is_told() -> None:
    """A header that the code names is in the reference, and none that it does not."""
    code = "".join(file.read_text() for file in (ROOT / "addons").rglob("*.py") if "reference" not in file.parts)
    named = set(re.findall(r"\b(x-(?:mesh|should)-[a-z-]*[a-z])\b", code.lower()))
    assert named <= set(HEADERS)
    assert {name for name, (where, _) in HEADERS.items() if where != "request"} <= named  # claims bear any name


def test_every_option_is_told() -> None:
    """Ours, those set and those refused."""
    text = PAGES["options.md"]()
    for name in (*options.OWN, *options.SET, *options.REFUSED):
        assert f"| `{name}` | " in text


def test_the_tables_people_ask_for_are_told() -> None:
    """Tables and views, without what SQLite keeps for itself."""
    text = PAGES["tables.md"]()
    for name in ("exchanges", "verdicts", "connections", "tunnels", "daily", "refusals", "messages", "conversations"):
        assert f"### {name}\n" in text
    assert "_fts" not in text


def test_metrics_have_kind_and_labels() -> None:
    """As Prometheus will see them."""
    text = PAGES["metrics.md"]()
    assert "| `mesh_llm_tokens_total` | counter | `namespace`, `model`, `type` | " in text
    assert "| `mesh_stage_seconds` | histogram | `stage` | " in text
    assert "| `mesh_stage_failures_total` | counter | `stage` | " in text
