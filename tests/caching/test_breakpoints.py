"""Where a breakpoint of Anthropic's prompt cache pays."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.caching.breakpoints import Seen, beginnings, chosen, edit, own

LONG = "word " * 2000
MARK = {"type": "ephemeral"}


def tool(name: str = "t", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": LONG, "input_schema": {"type": "object"}, **more}


def turns(*contents: Any) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[n % 2], "content": said} for n, said in enumerate(contents)]


def request(*contents: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-4-5", "messages": turns(*(contents or ("hi",))), **fields}


class Prompt:
    """What one process remembers; each call gets its breakpoints, by name."""

    def __init__(self) -> None:
        self.seen, self.now = Seen(), 0.0

    def __call__(self, doc: dict[str, Any], least: int = 1024, whose: str = "a") -> list[str]:
        self.now += 1
        return [each.name for each in chosen(list(beginnings(doc, whose)), doc, least, self.seen, self.now)]


@pytest.fixture
def prompt() -> Prompt:
    return Prompt()


def test_what_comes_once_is_not_written(prompt: Prompt) -> None:
    """Writing costs a quarter more: a prompt that never comes again has no breakpoint."""
    assert prompt(request(LONG, system=LONG, tools=[tool()])) == []
    assert prompt(request(LONG + "other", system=LONG + "other", tools=[tool("other")])) == []


def test_tools_and_system_that_come_again(prompt: Prompt) -> None:
    """Each for itself: a system prompt with the date in it does not cost the tools their breakpoint."""
    prompt(request("one", system=LONG, tools=[tool()]))
    assert prompt(request("two", system=LONG, tools=[tool()])) == ["tools", "system"]
    assert prompt(request("two", system="On Monday: " + LONG, tools=[tool()])) == ["tools"]
    assert prompt(request("two", system=LONG)) == []


def test_a_conversation_goes_on(prompt: Prompt) -> None:
    """From the second turn on: what was there is read, what is new is written for the next turn."""
    said: list[Any] = [LONG]
    assert prompt(request(*said)) == []
    for _ in range(3):
        said += ["answer", [{"type": "tool_result", "tool_use_id": "x", "content": f"result {len(said)}"}]]
        assert prompt(request(*said)) == ["before", "last"]


def test_examples_are_no_conversation(prompt: Prompt) -> None:
    """The same first turns before each question: they get a breakpoint, the question none."""
    assert prompt(request(LONG, "answer", "question 1")) == []
    assert prompt(request(LONG, "answer", "question 2")) == ["before"]
    assert prompt(request(LONG, "answer", "question 3")) == ["before"]


def test_the_same_call_again(prompt: Prompt) -> None:
    """All of it comes again."""
    prompt(request(LONG))
    assert prompt(request(LONG)) == ["last"]


def test_within_the_cache_s_time(prompt: Prompt) -> None:
    """What the provider has forgotten is new."""
    prompt(request("one", system=LONG))
    prompt.now += 299
    assert prompt(request("two", system=LONG)) == []
    prompt.now += 298
    assert prompt(request("three", system=LONG)) == ["system"]


def test_minimum(prompt: Prompt) -> None:
    """Of the whole beginning, by model: a short last turn behind a long history is long enough."""
    small = "word " * 900  # 4,500 bytes
    for least, expected in ((1024, ["system"]), (2048, [])):
        prompt(request("one", system=small), least)
        assert prompt(request("two", system=small), least) == expected


def test_whose(prompt: Prompt) -> None:
    """The provider's cache is its customer's: another's call says nothing of mine."""
    prompt(request("one", system=LONG), whose="a")
    assert prompt(request("two", system=LONG), whose="b") == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"system": [{"type": "text", "text": LONG, "cache_control": MARK}]}, ["before", "last"]),
        ({"tools": [tool(cache_control={**MARK, "ttl": "1h"})], "system": LONG}, ["system", "before", "last"]),
        ({"tools": [tool(), tool("b", cache_control=MARK), tool("c")]}, ["tools", "before", "last"]),
        ({"tools": [tool(n, cache_control=MARK) for n in "abc"], "system": LONG}, ["last"]),
        ({"tools": [tool(n, cache_control=MARK) for n in "abcd"], "system": LONG}, []),
        ({"cache_control": MARK, "system": LONG}, []),
        ({"cache_control": None, "system": LONG}, ["system", "before", "last"]),
    ],
)
def test_the_client_s_own(prompt: Prompt, fields: dict[str, Any], expected: list[str]) -> None:
    """Ours stand behind the client's, four with them; where the provider sets them by itself there are none."""
    prompt(request("one", **fields))
    assert prompt(request("one", "two", "three", **fields)) == expected


def test_the_client_s_own_in_messages(prompt: Prompt) -> None:
    """Who marks their last turn needs nothing of us."""
    marked = [{"type": "text", "text": "three", "cache_control": MARK}]
    prompt(request("one", system=LONG))
    assert prompt(request("one", "two", marked, system=LONG)) == []
    inner = {"type": "text", "text": "a", "cache_control": MARK}
    nested = [{"type": "tool_result", "tool_use_id": "x", "content": [inner]}]
    assert own(request(nested)) == [(2, 0, 0, 0)]


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ("text", ("messages", 0, "content")),
        ([{"type": "text", "text": "a"}, {"type": "image", "source": {}}], ("messages", 0, "content", 1)),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": " "}], None),
        ([{"type": "thinking", "thinking": "a", "signature": "b"}], None),
        ([{"type": "nobody_knows"}], None),
        (["text"], None),
        ([], None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_who_bears_it(content: Any, path: Any) -> None:
    """A block of a known kind with something in it; signed and unknown blocks are left alone."""
    (found,) = list(beginnings(request(content), "a")) or [None]
    assert (found.path if found else None) == path


def test_deferred_tools() -> None:
    """A tool that is loaded later may not bear one: the last that may does."""
    (found, _) = beginnings(request(tools=[tool("a"), tool("b", defer_loading=True)]), "a")
    assert found.path == ("tools", 0)
    assert [each.name for each in beginnings(request(tools=[tool(defer_loading=True)]), "a")] == ["last"]


@pytest.mark.parametrize("odd", [{"tools": 7}, {"tools": [7, None]}, {"system": {}}, {"system": [7]}, {"messages": [7]},
                                 {"messages": "x"}, {"messages": [{"role": 7}]}, {}])  # fmt: skip
def test_odd_requests(prompt: Prompt, odd: dict[str, Any]) -> None:
    """Nothing that is no request fails."""
    prompt(odd)
    assert prompt(odd) == []


def test_edit() -> None:
    """A text becomes the block that it stands for; a block gets a member."""
    doc = request("one", system="be kind")
    assert edit(doc, ("system",)) == (("system",), [{"type": "text", "text": "be kind", "cache_control": MARK}])
    doc = request([{"type": "text", "text": "a"}])
    assert edit(doc, ("messages", 0, "content", 0)) == (("messages", 0, "content", 0, "cache_control"), MARK)


def test_memory_is_bounded() -> None:
    """The oldest beginnings are forgotten."""
    seen = Seen(most=3)
    for n in range(10):
        seen.came(b"%d" % n, 0.0)
    assert len(seen) == 3
    assert seen.came(b"9", 1.0) == (True, False) and seen.came(b"0", 1.0) == (False, False)
