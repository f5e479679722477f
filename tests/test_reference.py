from __future__ import annotations

from pathlib import Path

from mitmesh.reference import rules_markdown
from mitmesh.rules.models import field_names


def test_docs_are_up_to_date() -> None:
    """docs/rules.md is what the code says; `python -m mitmesh.reference > docs/rules.md` makes it so."""
    assert (Path(__file__).parents[1] / "docs" / "rules.md").read_text() == rules_markdown()


def test_every_field_is_described() -> None:
    """No field is left out, and none is without a meaning."""
    text = rules_markdown()
    for name in field_names():
        assert f"| `{name}` | " in text
    assert " |  |\n" not in text
