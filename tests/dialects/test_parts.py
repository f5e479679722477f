"""Parts that grow within a bound."""

from __future__ import annotations

from mitmesh.dialects.base import Kind, Part
from mitmesh.dialects.parts import Parts


def test_parts_grow_under_their_keys() -> None:
    """Pieces go to the part of their key, and one that reopens a key closes the part before."""
    kept: list[Part] = []
    parts = Parts(kept, 10_000)
    parts.open(0, Part(Kind.TEXT, "a"))
    parts.open(1, Part(Kind.TOOL_CALL))
    assert parts.add(0, "b")
    assert parts.add(1, "{")
    assert parts.add(7, "to nobody")
    parts.open(0, Part(Kind.TEXT, "c"))
    parts.add(1, "}")
    parts.close_all()
    assert [part.text for part in kept] == ["ab", "{}", "c"]
    assert parts.last(0) is None


def test_a_call_without_arguments_is_an_empty_object() -> None:
    """Arguments of which no piece came are `{}`."""
    kept: list[Part] = []
    parts = Parts(kept, 1000)
    parts.open(0, Part(Kind.TOOL_CALL))
    parts.open(1, Part(Kind.TEXT))
    parts.close_all()
    assert [part.text for part in kept] == ["{}", ""]


def test_what_is_kept_is_a_beginning() -> None:
    """After the first piece there was no room for, none is kept, however small."""
    kept: list[Part] = []
    parts = Parts(kept, 110)
    assert parts.open(0, Part(Kind.TEXT))
    assert parts.add(0, "éé")  # four bytes
    assert not parts.add(0, "1234567")
    assert not parts.add(0, "1")
    assert not parts.open(1, Part(Kind.TEXT))
    parts.close_all()
    assert [part.text for part in kept] == ["éé"]
