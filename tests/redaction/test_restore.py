from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Answer, Kind, Part
from mitmesh.redaction.placeholders import Table
from mitmesh.redaction.restore import RestoreStream, restore_answer, restore_body
from mitmesh.wire.frames import SSE
from mitmesh.wire.jsontext import Body

TABLE = Table({"EMAIL_1": "ann@example.com", "EMAIL_10": "bob@example.com", "PERSON_1": 'A "B"'})


def restored(dialect: str, raw: bytes) -> bytes:
    """A whole stream through the transform."""
    stream, framer = RestoreStream(DIALECTS[dialect], TABLE), SSE()
    out = []
    for event in [*framer.feed(raw), *framer.flush()]:
        doc = json.loads(event.data) if event.data[:1] in (b"{", b"[") else None
        made = stream.event(event, doc)
        out += [event] if made is None else made
    return b"".join(event.raw for event in [*out, *stream.end()])


def sse(*docs: Any, named: bool = False) -> bytes:
    lines = [(f"event: {doc['type']}\n" if named else "") + f"data: {json.dumps(doc)}\n\n" for doc in docs]
    return "".join(lines).encode()


@pytest.mark.parametrize("ascii_", [True, False])
@pytest.mark.parametrize("spaced", [True, False])
def test_all_other_bytes_stay(ascii_: bool, spaced: bool) -> None:
    """Of an event that changes, all but the text keeps its bytes, framing and comments included."""
    doc = {"id": "ü", "n": 1.50, "choices": [{"index": 0, "delta": {"content": "é <EMAIL_1>"}}]}
    data = json.dumps(doc, ensure_ascii=ascii_, separators=None if spaced else (",", ":"))
    raw = f": note\r\nid: 7\r\ndata:{data}\r\n\r\n".encode()
    back = restored("openai_chat", raw)
    said = json.dumps("é <EMAIL_1>", ensure_ascii=ascii_)
    new = json.dumps("é ann@example.com", ensure_ascii=ascii_)
    assert back.replace(new.encode(), b"X").replace(b'"\xc3\xa9 ann@example.com"', b"X") == raw.replace(
        said.encode(), b"X"
    )


def test_data_on_several_lines() -> None:
    """An event whose data is spread over lines stays an event."""
    raw = b'event: x\ndata: {"choices": [{"index": 0,\ndata: "delta": {"content": "<EMAIL_1>"}}]}\n\n'
    (event,) = SSE().feed(restored("openai_chat", raw))
    assert (event.name, json.loads(event.data)["choices"][0]["delta"]) == ("x", {"content": "ann@example.com"})


def test_text_said_twice() -> None:
    """Where a text stands twice in an event, each is restored by its own place."""
    texts = [{"index": n, "delta": {"content": "<PERSON_1>"}} for n in (0, 1)]
    (event,) = SSE().feed(restored("openai_chat", sse({"choices": texts})))
    assert [choice["delta"]["content"] for choice in json.loads(event.data)["choices"]] == ['A "B"', 'A "B"']


def test_unknown_kinds_of_events() -> None:
    """Events of a kind that is new are restored (litellm 30728)."""
    novel = {"type": "response.brand_new.delta", "output_index": 0, "delta": "<EMAIL_1>"}
    assert b"ann@example.com" in restored("openai_responses", sse(novel, named=True))
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "novel_delta", "novelty": "<EMAIL_1>"}}
    assert b"ann@example.com" in restored("anthropic", sse(delta, named=True))
    other = sse({"object": "new.kind", "payload": "<EMAIL_1>"})
    assert b"ann@example.com" in restored("openai_chat", other)


def test_unknown_fields_of_a_delta() -> None:
    """A field of a delta that nobody knows is a text in pieces like those that are known."""
    pieces = [{"index": 1, "delta": {"zzz": {"said": piece}}} for piece in ("to <EM", "AIL_", "1> and <EMAIL", "_7>")]
    back = restored("openai_chat", sse(*({"choices": [piece]} for piece in pieces)))
    said = [json.loads(event.data)["choices"][0]["delta"]["zzz"]["said"] for event in SSE().feed(back)]
    assert "".join(said) == "to ann@example.com and <EMAIL_7>"


SEALED = "c2lnbmVk/+=" * 4


def test_unknown_fields_of_an_answer() -> None:
    """In a JSON answer every string is restored, but what is signed or sealed."""
    details = [{"type": "reasoning.text", "text": "<EMAIL_1>"}, {"text": "<EMAIL_1>", "signature": SEALED}]
    message = {"content": "hi", "zzz": ["<EMAIL_1>"], "reasoning_details": details}
    blocks = {"thinking_blocks": [{"type": "thinking", "thinking": "<EMAIL_1>", "signature": "c2ln"}]}
    logprobs = {"content": [{"token": "<EMAIL_1>", "logprob": 0}]}
    doc = {"choices": [{"message": {**message, **blocks}, "logprobs": logprobs}], "citations": ["https://x/<EMAIL_1>"]}
    body = Body(json.dumps(doc).encode(), doc)
    restore_body(body, DIALECTS["openai_chat"], TABLE)
    told = json.loads(body.render())["choices"][0]
    assert told["message"]["zzz"] == ["ann@example.com"] and doc["citations"] == ["https://x/ann@example.com"]
    assert [each["text"] for each in told["message"]["reasoning_details"]] == ["ann@example.com", "<EMAIL_1>"]
    assert told["message"]["thinking_blocks"][0]["thinking"] == "<EMAIL_1>"
    assert told["logprobs"]["content"][0]["token"] == "ann@example.com"


def test_thinking_passes() -> None:
    """Thinking keeps its placeholders: it is signed, and comes back as it was."""
    deltas = [
        {"type": "thinking_delta", "thinking": "<EMAIL_1>"},
        {"type": "signature_delta", "signature": "<EMAIL_1>"},
    ]
    raw = sse(*({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas), named=True)
    assert restored("anthropic", raw) == raw


def test_left_in_a_block() -> None:
    """What is left of a block comes as a delta before the block's stop, also where it came with its start."""
    start = {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "a <EMA"}}
    stop = {"type": "content_block_stop", "index": 2}
    events = SSE().feed(restored("anthropic", sse(start, stop, named=True)))
    docs = [json.loads(event.data) for event in events]
    assert docs[0]["content_block"]["text"] == "a "
    assert docs[1] == {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "<EMA"}}
    assert docs[2] == stop


def test_ids_are_not_said_again() -> None:
    """An event of ours carries on the text alone: SDKs would join ids and names to those they have."""
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "<EM'}}
    delta = {"role": "assistant", "tool_calls": [call]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = SSE().feed(restored("openai_chat", sse({"id": "x", "choices": [{"index": 0, "delta": delta}]}, end)))
    (more,) = json.loads(events[1].data)["choices"]
    assert more == {
        "index": 0,
        "delta": {"tool_calls": [{"index": 0, "type": "function", "function": {"arguments": "<EM"}}]},
    }


PIECES = ["<EMAIL_1>", "<EMA", "IL_10>", "\\u003cPERSON_1\\u003e", " x ", "<", "\\", '"', "é", "<PERSON_1", ">"]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_any_cut(pieces: list[str], sizes: list[int]) -> None:
    """However a text is cut into events, the client reads the whole text restored, in each dialect."""
    text, cut = "".join(pieces), []
    while sum(map(len, cut)) < len(text):
        at = sum(map(len, cut))
        cut.append(text[at : at + sizes[len(cut) % len(sizes)]])
    chat = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in cut]
    responses = [{"type": "response.output_text.delta", "output_index": 0, "delta": piece} for piece in cut]
    for dialect, docs in (("openai_chat", chat), ("openai_responses", responses)):
        events = SSE().feed(restored(dialect, sse(*docs)))
        said = [text.text for event in events for text in DIALECTS[dialect].event_texts(json.loads(event.data))]
        assert "".join(said) == TABLE.restore(text)


def test_answer_of_ours() -> None:
    """An answer from a cache is restored before it is rendered."""
    answer = Answer(parts=[Part(Kind.TEXT, "<PERSON_1>"), Part(Kind.TOOL_CALL, '{"a": "<PERSON_1>"}')])
    restore_answer(answer, TABLE)
    assert (answer.parts[0].text, json.loads(answer.parts[1].text)) == ('A "B"', {"a": 'A "B"'})


def test_half_a_character() -> None:
    """Half of a surrogate pair, whose other half is in the next event, stays what it is."""
    for text in ("<EMAIL_1> \ud83e", "\ud83e <EMAIL_1>"):
        back = restored("openai_chat", sse({"choices": [{"index": 0, "delta": {"content": text}}]}))
        said = json.loads(back.removeprefix(b"data: "))["choices"][0]["delta"]["content"]
        assert said == text.replace("<EMAIL_1>", "ann@example.com")


def ollama(piece: str, key: str = "content") -> Any:
    return {"model": "m", "message": {"role": "assistant", key: piece}, "done": False}


def cohere(piece: str, index: int = 0) -> Any:
    return {"type": "content-delta", "index": index, "delta": {"message": {"content": {"text": piece}}}}


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            [*map(ollama, ["to <", "EMAIL", "_", "1", "> <EM"]), {"done": True, "eval_count": 4}],
            "to ann@example.com <EM",
        ),
        ([*map(cohere, ["<EMA", "IL_1>", " ok"]), {"type": "content-end", "index": 0}], "ann@example.com ok"),
        ([ollama("why <EM", "thinking"), ollama("AIL_1> no", "content")], "why <EMAIL_1> no"),
        ([cohere("a <EM", 0), cohere("b", 1), cohere("AIL_1>", 0)], "a <EMbAIL_1>"),
        ([{"v": "<EMAIL"}, {"p": "/message/content/parts/0", "o": "append", "v": "_1>"}], "ann@example.com"),
    ],
)
def test_apis_that_no_dialect_is_for(events: list[Any], said: str) -> None:
    """Placeholders in pieces are restored there too; what was held back of a text comes before another goes on."""
    raw = sse(*events)
    found = [event.data for event in SSE().feed(restored("generic", raw)) if event.data]
    assert "".join(text for data in found for text in _said(json.loads(data))) == said
    assert json.loads(found[-1]) == events[-1] or "done" not in events[-1]


def _said(doc: Any) -> list[str]:
    texts = DIALECTS["generic"].event_texts(doc)
    return [text.text for text in texts if text.channel]


def test_arguments_of_tools_where_no_dialect_is_for_them() -> None:
    """What is restored in JSON within JSON is escaped."""
    pieces = ['{"to":"<PER', 'SON_1>"}']
    for event in (
        lambda piece: {"contentBlockIndex": 1, "delta": {"toolUse": {"input": piece}}},
        lambda piece: {"delta": {"message": {"tool_calls": {"function": {"arguments": piece}}}}},
    ):
        raw = restored("generic", sse(*map(event, pieces)))
        docs = [json.loads(each.data) for each in SSE().feed(raw)]
        assert json.loads("".join(text for doc in docs for text in _said(doc))) == {"to": 'A "B"'}
