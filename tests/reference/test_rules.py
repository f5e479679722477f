from __future__ import annotations

from mitmesh.reference.rules import rules_markdown
from mitmesh.rules.models import field_names


def test_every_field_is_described() -> None:
    """No field is left out, and none is without a meaning."""
    text = rules_markdown()
    for name in field_names():
        assert f"| `{name}` | " in text
    assert " |  |\n" not in text
