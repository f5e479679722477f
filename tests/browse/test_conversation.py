"""What a turn added to its conversation."""

from __future__ import annotations

from typing import Any

from mitmesh.browse.conversation import Turn, turns


def talk(*calls: tuple[list[str], list[str]]) -> list[Turn]:
    """Calls as texts of the request and of the answer; `call: x` calls a tool. The same text is the same message."""
    ids: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for number, (asked, answered) in enumerate(calls):
        for direction, texts in (("request", asked), ("answer", answered)):
            for text in texts:
                role = "tool_call" if text.startswith("call: ") else "user"
                row = {"exchange": str(number), "direction": direction, "message": ids.setdefault(text, len(ids))}
                rows.append({**row, "role": role, "chars": len(text), "text": text, "tool": None})
    return turns([{"id": str(number)} for number in range(len(calls))], [], rows)


def said(turn: Turn) -> list[str]:
    return [each.text or "" for each in turn.said or ()]


def test_what_is_said_again_is_said() -> None:
    """A user who says yes three times said it three times; the history is told once."""
    history: list[str] = ["system"]
    calls = []
    for word, answer in (
        ("start", "go on?"),
        ("yes", "and now?"),
        ("yes", "really?"),
        ("no", "then?"),
        ("yes", "done"),
    ):
        history.append(word)
        calls.append((list(history), [answer]))
        history.append(answer)
    found = talk(*calls)
    assert [said(turn) for turn in found] == [["system", "start"], ["yes"], ["yes"], ["no"], ["yes"]]
    assert [turn.repeated for turn in found] == [0, 3, 5, 7, 9]


def test_the_same_call_again() -> None:
    """It shows what it asked."""
    found = talk((["system", "question"], ["answer"]), (["system", "question"], ["answer"]))
    assert [said(turn) for turn in found] == [["system", "question"], ["question"]]


def test_other_conversations_between() -> None:
    """An agent's helper has a conversation of its own, and so has the agent after it."""
    agent, helper = ["system", "do it"], ["help", "find it"]
    found = talk((agent, ["ok"]), (helper, ["found"]), ([*agent, "ok", "more"], ["done"]))
    assert [said(turn) for turn in found] == [agent, helper, ["more"]]


def test_a_history_that_is_written_anew() -> None:
    """Where a message in it changed, that one is new."""
    found = talk((["monday", "a", "b"], ["c"]), (["tuesday", "a", "b", "c", "d"], ["e"]))
    assert said(found[1]) == ["tuesday", "d"]


def test_a_tool_call_that_is_sent_back() -> None:
    """It is the answer's, however it is written; a second one is not."""
    found = talk((["ask"], ["call: f({})"]), (["ask", "call: f( {} )", "result"], ["done"]))
    assert said(found[1]) == ["result"] and found[1].repeated == 2
    found = talk((["ask"], ["call: f"]), (["ask", "call: f", "call: g", "result"], ["done"]))
    assert said(found[1]) == ["call: g", "result"]


def test_texts_that_were_not_kept() -> None:
    """Their size is compared."""
    row = {"direction": "request", "message": None, "role": "user", "text": None, "tool": None}
    rows = [{**row, "exchange": "0", "chars": 5}, *({**row, "exchange": "1", "chars": chars} for chars in (5, 7))]
    found = turns([{"id": "0"}, {"id": "1"}], [], rows)
    assert [each.chars for each in found[1].said or ()] == [7]
