from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.paths import PathTable, compile_path, find_path
from mitmesh.rules import PathRule
from mitmesh.wire.path import normalise

TABLE = PathTable(
    [
        PathRule(path="/v1/messages", dialect="anthropic"),
        PathRule(path="/v1/models", dialect="anthropic", method="GET"),
        PathRule(path="**/chat/completions", dialect="openai_chat"),
        PathRule(path="**/responses/*", dialect="openai_responses", method="*"),
        PathRule(path="**/*:generateContent", dialect="gemini"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "dialect"),
    [
        ("POST", "/v1/messages", "anthropic"),
        ("post", "/v1/messages", "anthropic"),
        ("GET", "/v1/messages", None),
        ("GET", "/v1/models", "anthropic"),
        ("POST", "/v1/messages?beta=true", "anthropic"),
        ("POST", "/v1/messages#x", "anthropic"),
        ("POST", "/v1/messages/", "anthropic"),
        ("POST", "//v1//messages", "anthropic"),
        ("POST", "/v1/./messages", "anthropic"),
        ("POST", "/x/../v1/messages", "anthropic"),
        ("POST", "/../v1/messages", "anthropic"),
        ("POST", "/v1/%6dessages", "anthropic"),
        ("POST", "/v1%2Fmessages", "anthropic"),
        ("POST", "/x/%2e%2e/v1/messages", "anthropic"),
        ("POST", "/v1/messages;jsessionid=1", "anthropic"),
        ("POST", "/x/..;a=b/v1/messages", "anthropic"),
        ("POST", "/V1/Messages", "anthropic"),
        ("POST", "\\v1\\messages", None),
        ("POST", "/v1\\messages", "anthropic"),
        ("POST", "/v1/messages/x", None),
        ("POST", "/x/v1/messages", None),
        ("POST", "/v1/messages%00", None),
        ("POST", "/v1/messages%253F", None),
        ("POST", "/v1/messages%3Fx", None),
        ("POST", "/v1/messages%ff", None),
        ("POST", "/v1/messages%", None),
        ("POST", "v1/messages", None),
        ("POST", "http://x/v1/messages", None),
        ("POST", "*", None),
        ("POST", "", None),
        ("POST", "/" + "a" * 5000, None),
        ("POST", "/chat/completions", "openai_chat"),
        ("POST", "/openai/deployments/gpt-4o/chat/completions?api-version=1", "openai_chat"),
        ("POST", "/chat/completions/x", None),
        ("POST", "/xchat/completions", None),
        ("DELETE", "/v1/responses/resp_1", "openai_responses"),
        ("GET", "/v1/responses/", None),
        ("POST", "/v1beta/models/gemini-2.5-pro:generateContent?key=x", "gemini"),
        ("POST", "/v1beta/models/gemini%3AgenerateContent", "gemini"),
        ("POST", "/v1/projects/p/locations/l/publishers/google/models/m:generateContent", "gemini"),
        ("POST", "/v1beta/models/m:generateContentX", None),
    ],
)
def test_dialect_of_path(method: str, path: str, dialect: str | None) -> None:
    """What servers take for the same path speaks the same dialect; what they may differ on speaks none."""
    assert find_path(TABLE, method, path) == dialect
    assert find_path(TABLE, method, path) == dialect  # and the second time, from what was remembered


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("/**", ["/", "/a", "/a/b"], []),
        ("/", ["/"], ["/a"]),
        ("/a/*/c", ["/a/b/c"], ["/a/c", "/a/b/b/c"]),
        ("/a/**/c", ["/a/c", "/a/b/c", "/a/b/b/c"], ["/a/bc", "/ac"]),
        ("/a/", ["/a"], ["/"]),
        ("/a.c", ["/a.c"], ["/abc"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    """`*` is a segment or a part of one, `**` any number of segments."""
    regex = compile_path(pattern)
    assert [path for path in yes + no if regex.fullmatch(path)] == yes


@pytest.mark.parametrize("pattern", ["", "a", "*", "/a?b", "/a#b", "/a**", "/**b/c"])
def test_bad_patterns(pattern: str) -> None:
    """A pattern that could not mean what was meant is an error."""
    with pytest.raises(ValueError, match=r"."):
        compile_path(pattern)


@given(st.text("/.%;?#\\ab2eEfF5\x00é", max_size=40))
@settings(max_examples=300, deadline=None)
def test_normal_form_is_stable(path: str) -> None:
    """Normalising once is enough: nothing that would be normalised is left."""
    once = normalise("/" + path)
    if once is not None:
        assert normalise(once) == once


@given(st.lists(st.sampled_from([".", "", "x/..", "%2e", "y;z/%2E%2e"]), max_size=5), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_noise_does_not_dodge(noise: list[str], at: int) -> None:
    """Segments that servers drop never hide a path."""
    parts = ["v1", "messages"]
    parts[at:at] = noise
    assert find_path(TABLE, "POST", "/" + "/".join(parts)) == "anthropic"
