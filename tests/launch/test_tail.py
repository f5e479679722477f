"""scripts/tail: what it makes of the stream."""

from __future__ import annotations

import json

import pytest

from audits import answered, exchange
from mitmesh.launch import tail
from mitmesh.live.events import NAMES, events


def told(*, origin: str = "", user: str = "ada", terminal: bool = False, only: set[str] | None = None) -> list[bytes]:
    """A stream as the control port writes it: two calls, one of them refused, and a comment."""
    first, second = answered(exchange()), exchange()
    first.identity.user = second.identity.user = user
    second.refuse("policy", "models", "no")
    lines = [b"event: sessions\n", b"data: []\n", b"\n", b": still here\n", b"\n"]
    for event in [*events(first), *events(second)]:
        lines += [f"event: {event['event']}\n".encode(), f"data: {json.dumps(event)}\n".encode(), b"\n"]
    return lines


def test_names_are_the_same() -> None:
    """The terminal knows the events that there are."""
    assert tail.NAMES == NAMES


def test_a_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is a line with who, what, tokens, cost; in a pipe it has no colours."""
    tail.watch(told(), set(NAMES), False, False)
    first, second = capsys.readouterr().out.splitlines()
    for words in ("llm_call", "ada blue", "gpt-4o", "10+5 tokens", "$0.0015", "250 ms"):
        assert words in first
    assert "refused" in second
    assert "models" in second


def test_only_some_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the events asked for; JSON as it came."""
    tail.watch(told(), {"refused"}, True, True)
    (line,) = capsys.readouterr().out.replace("\r\x1b[K", "").splitlines()
    assert json.loads(line)["rule"] == "models"


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in what a caller names are shown as question marks."""
    tail.watch(told(user="\x1b]0;owned\x07\n"), set(NAMES), False, False)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("given", [["nonsense"], []])
def test_one_clear_line(given: list[str], tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown event, and nothing that runs, are one line."""
    monkeypatch.setenv("MITMESH_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        tail.main(given)
    assert str(ended.value.code).startswith("mitmesh: ")
