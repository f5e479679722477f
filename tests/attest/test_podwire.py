from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.attest import podwire
from mitmesh.attest.podinfo import Malformed
from mitmesh.attest.podwire import lines, members, parsed, walk

JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def content(*chunks: bytes) -> aiohttp.StreamReader:
    """A body that comes in these pieces."""
    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return reader


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.lists(JSON, max_size=4), st.sampled_from([None, 1]))
def test_a_list_is_walked_as_json_has_it(rest: dict[str, Any], items: list[Any], indent: int | None) -> None:
    """Wherever its items are, and however it is laid out."""
    whole = {**rest, "items": items, "last": 1}
    found = list(walk(json.dumps(whole, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")))
    assert [value for key, value in found if key == "items"] == items
    assert {key: value for key, value in found if key != "items"} == {k: v for k, v in whole.items() if k != "items"}


def test_a_list_of_nothing() -> None:
    assert list(walk(b'{"items": null, "a": 1}')) == [("a", 1)]
    assert list(walk(b"{}")) == []


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{", b'{"items": [', b'{"items": [1', b'{"items": [1 2]}', b'{"a" 1}', b'{"a": 1 "b": 2}', b"\xff",
     b"<html>", b'{"a": ' + b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_list(raw: bytes) -> None:
    with pytest.raises(Malformed, match=r"^a list is no JSON, or cut off$"):
        list(walk(raw))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\n", b"x")), max_size=5), st.data())
async def test_any_split_gives_the_same_lines(expected: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(line + b"\n" for line in expected)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    chunks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert [line async for line in lines(content(*chunks))] == [line for line in expected if line.strip()]


async def test_a_line_that_is_cut_off() -> None:
    with pytest.raises(Malformed, match="cut off"):
        assert [line async for line in lines(content(b'{"a": 1}\n{"b"'))]


async def test_what_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read without a bound."""
    monkeypatch.setattr(podwire, "LARGEST_EVENT", 10)
    monkeypatch.setattr(podwire, "LARGEST_PAGE", 10)
    with pytest.raises(Malformed, match="longer than 10"):
        assert [line async for line in lines(content(b"x" * 11))]
    with pytest.raises(Malformed, match="longer than 10"):
        assert [member async for member in members(content(b"x" * 6, b"x" * 6))]


@pytest.mark.parametrize("raw", [b"secret", b"{", b"\xff", b"[" * 100_000])
def test_an_event_that_is_no_json(raw: bytes) -> None:
    with pytest.raises(Malformed, match=r"^an event is no JSON$"):
        parsed(raw)
