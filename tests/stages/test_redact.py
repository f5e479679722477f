"""The redact stage with a finder that is a regex: what leaves, what comes back, what is stored, what is said."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mitmesh.dialects.base import Framing
from mitmesh.exchange import Action, Mode, Target
from mitmesh.guard import Guard
from mitmesh.house import House, Phase
from mitmesh.redaction.findings import FinderFailed, Health, TooMuch
from mitmesh.redaction.stored import WITHHELD
from mitmesh.rules import Content
from mitmesh.rules.pii import PiiAction
from mitmesh.stages.redact import Redact
from mitmesh.store.content import STORED_ANSWER, STORED_TEXTS, answer_model, answer_texts, messages
from mitmesh.store.keys import Hasher
from mitmesh.store.rows import OUTCOME_COLUMNS, REQUEST_COLUMNS, outcome_columns, request_columns, word
from redactions import FINDS, Finder, back_json, back_stream, exchange, rules, sent, stream_chunks

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
async def stage(tmp_path: Path) -> Any:
    stage = Redact(tmp_path / "data", Finder())
    await stage.start()
    yield stage
    await stage.stop()


def chat(*contents: Any, **fields: Any) -> dict[str, Any]:
    """A chat request of alternating roles."""
    messages = [
        content if isinstance(content, dict) else {"role": ("user", "assistant")[n % 2], "content": content}
        for n, content in enumerate(contents)
    ]
    return {"model": "gpt-4o", "messages": messages, **fields}


def said(content: str) -> dict[str, Any]:
    """A chat answer."""
    message = {"role": "assistant", "content": content}
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def deltas(*pieces: Any, last: str = "data: [DONE]\n\n") -> bytes:
    """A chat stream of these content deltas (or deltas as they are)."""
    docs = [{"delta": piece if isinstance(piece, dict) else {"content": piece}} for piece in pieces]
    chunks = [{"id": "c1", "object": "chat.completion.chunk", "choices": [{"index": 0, **doc}]} for doc in docs]
    chunks.append({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + last.encode()


def contents(raw: bytes) -> list[str]:
    """The content of each event of a chat stream that has any."""
    docs = [json.loads(event[6:]) for event in raw.decode().split("\n\n") if event.startswith("data: {")]
    found = [doc["choices"][0]["delta"].get("content") for doc in docs if doc["choices"]]
    return [text for text in found if text is not None]


# --- what leaves ---


TOOLS = {
    "anthropic": (
        lambda number, words: {"model": "m", "max_tokens": 1, "messages": [
            {"role": "user", "content": "+49 30 1234567"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"n": number}}]},
            *({"role": "user", "content": word} for word in words)]},
        lambda doc: doc["messages"][1]["content"][0]["input"]["n"],
    ),
    "gemini": (
        lambda number, words: {"contents": [
            {"role": "user", "parts": [{"text": "+49 30 1234567"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"n": number}}}]},
            *({"role": "user", "parts": [{"text": word}]} for word in words)]},
        lambda doc: doc["contents"][1]["parts"][0]["functionCall"]["args"]["n"],
    ),
    "generic": (
        lambda number, words: {"turns": [
            {"say": "+49 30 1234567"}, {"args": {"n": number}}, *({"say": word} for word in words)]},
        lambda doc: doc["turns"][1]["args"]["n"],
    ),
}  # fmt: skip
NUMBERS = re.compile(FINDS.pattern + r"|(?P<PHONE2>(?<!\d)4930\d{7}(?!\d))")


@pytest.mark.parametrize("dialect", TOOLS)
@pytest.mark.parametrize("number", [49307654321, 4.9307654321e10])
async def test_numbers_in_tool_inputs(dialect: str, number: float, tmp_path: Path) -> None:
    """A number in a tool's input is named where it stands in the conversation, so that it keeps its name when the
    conversation grows, and counts as the tool call that it is in."""
    make, of = TOOLS[dialect]
    stage = Redact(tmp_path / "data", Finder(NUMBERS))
    await stage.start()
    names = []
    for words in ([], ["4930111222"], ["49301112223", "49301112224"]):
        x = exchange(dialect, make(number, words))
        await stage.request(x)
        names.append(of(json.loads(sent(x))))
        assert "tool_call" in x.verdicts[0].reason
    await stage.stop()
    assert names == ["<PHONE2_1>"] * 3


async def test_names_in_tool_inputs(stage: Redact) -> None:
    """So is a member's name."""
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {BOB: 1}}]}
    names = []
    for later in ([], [{"role": "user", "content": "c@example.com d@example.com"}]):
        messages = [{"role": "user", "content": ANN}, call, *later]
        x = exchange("anthropic", {"model": "m", "max_tokens": 1, "messages": messages})
        await stage.request(x)
        names.append(json.loads(sent(x))["messages"][1]["content"][0]["input"])
    assert names == [{"<EMAIL_2>": 1}] * 2


@pytest.mark.parametrize(
    ("raw", "kind", "left"),
    [
        (b'{"q": "ann@example.com"}\n{"q": "bob@example.com"}\n', "application/jsonl",
         b'{"q": "<EMAIL_1>"}\n{"q": "<EMAIL_2>"}\n'),
        (b"mail=ann%40example.com&x=1", "application/x-www-form-urlencoded", b"mail=%3CEMAIL_1%3E&x=1"),
        (b"write to ann@example.com", "text/plain", b"write to <EMAIL_1>"),
        (b"to ann\xff@exam\xc2ple.com\xfe and bob@example.com", "text/plain", b"to <EMAIL_1> and <EMAIL_2>"),
        (b"mail=ann%FF%40example.com", "application/x-www-form-urlencoded", b"mail=%3CEMAIL_1%3E"),
        (b"\x1b[31mann@\x1b[1mexample.com\x1b[0m\xff", "text/plain", b"<EMAIL_1>"),
        (b"caf\xe9 \x1b[1mann@example.com: \x1b[0m", "text/plain", b"caf\xe9 <EMAIL_1>: \x1b[0m"),
        ("jos\u00e9 ann@example.com".encode("utf-16"), "text/plain", "jos\u00e9 <EMAIL_1>".encode("utf-16")),
    ],
)  # fmt: skip
async def test_no_json(stage: Redact, raw: bytes, kind: str, left: bytes) -> None:
    """A body on a path of no known dialect need not be JSON."""
    x = exchange("generic", raw, content_type=kind)
    await stage.request(x)
    assert sent(x) == left


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/v1/other?user=ann%40example.com&key=sk-12345678&a=1", "/v1/other?user=%3CEMAIL_1%3E&key=sk-12345678&a=1"),
        ("/v1/users/ann@example.com/x", "/v1/users/%3CEMAIL_1%3E/x"),
        ("/v1/users/ann%40example.com?x", "/v1/users/%3CEMAIL_1%3E?x"),
        ("/v1/other?a=b%2Fc&d", "/v1/other?a=b%2Fc&d"),
        ("/v1/other?ann@example.com=1&%2B49+30+1234567", "/v1/other?%3CEMAIL_1%3E=1&%3CPHONE_1%3E"),
        ("/v1/other?a+b=c+ann%2540example.com", "/v1/other?a+b=c+%3CEMAIL_1%3E"),
        ("/v1/other/sk-12345678/+49301234567", "/v1/other/%3CSECRET_1%3E/%3CPHONE_1%3E"),
        ("/v1/other?key=ann@example.com&key=%2B49301234567", "/v1/other?key=%3CEMAIL_1%3E&key=%3CPHONE_1%3E"),
    ],
)
async def test_url(stage: Redact, path: str, left: str) -> None:
    """Values in the URL leave as placeholders, but the credential that is for the provider."""
    x = exchange("generic", {"a": "b"}, path)
    await stage.request(x)
    assert x.path == left


@pytest.mark.parametrize("model", [ANN, "sk-abcdefghijkl"])
@pytest.mark.parametrize("mode", Mode)
async def test_model(stage: Redact, model: str, mode: Mode) -> None:
    """A model's name that holds a value is not shown as it is anywhere."""
    x = exchange("openai_chat", {"model": model, "messages": [{"role": "user", "content": "hi"}]}, rules_=rules(mode))
    await stage.request(x)
    assert model not in (x.call.model or "") and (x.call.model or "").startswith("<")
    assert (model.encode() in sent(x)) is (mode is Mode.OBSERVE)


@pytest.mark.parametrize("came", [True, False])
async def test_claims_when_it_fails(stage: Redact, came: bool) -> None:
    """Where the finder fails, or the call was refused before it came here, audit and metrics see neither name."""
    stage.finder = Finder(fails=FinderFailed("no"))
    x = exchange("openai_chat", {"model": "sk-abcdefghijkl", "messages": [{"role": "user", "content": "hi"}]})
    x.call.session = ANN
    if came:
        with pytest.raises(FinderFailed):
            await stage.request(x)
    stage.finish(x)
    assert (x.call.model, x.call.session) == (None, None)


async def test_session(stage: Redact) -> None:
    """A session that is named by a value is told from others, and its name is not kept."""
    seen = []
    for session in (ANN, BOB, ANN):
        x = exchange("openai_chat", chat("hi"))
        x.call.session = session
        await stage.request(x)
        seen.append(x.call.session)
    assert seen[0] == seen[2] != seen[1] and not {ANN, BOB} & set(seen)


async def test_rules_for_tool_calls(tmp_path: Path) -> None:
    """A rule for tool calls holds for the numbers in them."""
    stage = Redact(tmp_path / "data", Finder(NUMBERS))
    await stage.start()
    make, _ = TOOLS["anthropic"]
    action = PiiAction(id="no", types=["PHONE2"], provenance=["tool_call"], action="refuse")
    x = exchange("anthropic", make(49307654321, []), rules_=rules(actions=[action]))
    await stage.request(x)
    await stage.stop()
    assert x.refusal and x.refusal.rule_id == "no"


async def test_replaced_and_restored(stage: Redact) -> None:
    """A value leaves as a placeholder, and the client reads the value."""
    x = exchange("openai_chat", chat(f"write to {ANN}"))
    await stage.request(x)
    assert json.loads(sent(x))["messages"][0]["content"] == "write to <EMAIL_1>"
    assert x.call.texts[0].text == "write to <EMAIL_1>"
    answer = back_json(stage, x, said("Dear <EMAIL_1>, not <EMAIL_2>"))
    assert answer["choices"][0]["message"]["content"] == f"Dear {ANN}, not <EMAIL_2>"


async def test_other_bytes_stay(stage: Redact) -> None:
    """Every byte but those of the value leaves as it came."""
    raw = b'{ "messages" : [{"content":"a\\u0020ann@example.com \\/","role":"user"}],\n "model":"m" , "x":1.0e0}'
    x = exchange("openai_chat", raw)
    await stage.request(x)
    assert sent(x) == raw.replace(b"a\\u0020ann@example.com \\/", b"a <EMAIL_1> /")


async def test_nothing_found_nothing_changed(stage: Redact) -> None:
    """A call without values leaves as it came, and its stream has no transform."""
    x = exchange("openai_chat", chat("hello", stream=True))
    await stage.request(x)
    assert x.body and not x.body.changed
    assert stage.stream(x) is None
    assert (x.verdicts, x.edits_stream, x.notes[STORED_TEXTS]) == ([], False, {})


async def test_everywhere(stage: Redact) -> None:
    """A value that context gives away in one message is replaced in all, whole words only."""
    x = exchange("openai_chat", chat("Ann says hi to Anna", "ok", "my name is Ann", user="Ann"))
    await stage.request(x)
    doc = json.loads(sent(x))
    assert [m["content"] for m in doc["messages"]] == ["<PERSON_1> says hi to Anna", "ok", "my name is <PERSON_1>"]
    assert doc["user"] == "<PERSON_1>"


async def test_numbered_in_conversation_order(stage: Redact) -> None:
    """Numbers follow system, messages, metadata, whatever the byte order (litellm 31959)."""
    doc = {
        "user": "u@example.com",
        "messages": [
            {"role": "user", "content": "2@example.com 1@example.com"},
            {"role": "user", "content": "3@example.com"},
        ],
        "system": "1@example.com",
        "model": "m",
        "max_tokens": 1,
    }
    x = exchange("anthropic", doc)
    await stage.request(x)
    left = json.loads(sent(x))
    assert left["system"] == "<EMAIL_1>"
    assert [m["content"] for m in left["messages"]] == ["<EMAIL_2> <EMAIL_1>", "<EMAIL_3>"]
    assert left["user"] == "<EMAIL_4>"


async def test_growing_conversation(stage: Redact, tmp_path: Path) -> None:
    """The earlier messages of a growing conversation leave with the same bytes on every turn, from any worker
    (litellm 41600, 42138)."""
    other = Redact(tmp_path / "other", Finder())
    await other.start()
    turns = [f"I am {ANN}, my name is Ann", "hi", f"and {BOB}, +49 170 1234567", "ok", f"cc {ANN}, c@example.com"]
    before = b""
    for count in (1, 3, 5):
        for worker in (stage, other):
            x = exchange("openai_chat", {"messages": chat(*turns[:count])["messages"]})
            await worker.request(x)
            now = sent(x).removesuffix(b"]}")
            assert now.startswith(before)
        before = now
    assert before.count(b"<EMAIL_1>") == 2
    await other.stop()


async def test_late_finding_renames_nobody(stage: Redact) -> None:
    """A value found only now, but said before, takes the next number: names that were sent stay."""
    x = exchange("openai_chat", chat("Ann: ann2@example.com, my name is Bob", "hi", "my name is Ann"))
    await stage.request(x)
    assert json.loads(sent(x))["messages"][0]["content"] == "<PERSON_2>: <EMAIL_1>, my name is <PERSON_1>"


@pytest.mark.parametrize(
    "typed", [r"\u003cEMAIL_1\u003e", r"\\u003CEMAIL\u005f1\\u003E", "\x1b[1m<EMAIL_1>", "<EMAIL_1>"]
)
async def test_a_literal_is_its_own_bytes(stage: Redact, typed: str) -> None:
    """A placeholder that the client typed, with escapes or without, leaves as another, and returns as it was typed."""
    x = exchange("openai_chat", {"model": "m", "messages": [{"role": "user", "content": f"say {typed} to {ANN}"}]})
    await stage.request(x)
    said = json.loads(sent(x))["messages"][0]["content"]
    assert said.endswith("<LITERAL_1> to <EMAIL_1>")
    back = back_json(stage, x, {"choices": [{"message": {"role": "assistant", "content": said}}]})
    assert back["choices"][0]["message"]["content"] == f"say {typed} to {ANN}"


async def test_literal_placeholder(stage: Redact) -> None:
    """A placeholder in the client's own words is replaced and restored like a value."""
    x = exchange("openai_chat", chat(f"{ANN} what does <EMAIL_1> mean, or <EMAIL_7>?"))
    await stage.request(x)
    left = json.loads(sent(x))["messages"][0]["content"]
    assert left == "<EMAIL_1> what does <LITERAL_1> mean, or <LITERAL_2>?"
    answer = back_json(stage, x, said(left))
    assert answer["choices"][0]["message"]["content"] == f"{ANN} what does <EMAIL_1> mean, or <EMAIL_7>?"


async def test_tool_arguments_in_history(stage: Redact) -> None:
    """Tool-call arguments in the history are redacted within their own JSON, which stays valid.

    litellm 30723, 41274."""
    arguments = r'{"to": "ann\u0040example.com", "n": 1,  "text": "hi\nbob@example.com \"x\""}'
    call = {"id": "c", "type": "function", "function": {"name": "send", "arguments": arguments}}
    x = exchange("openai_chat", chat("hi", {"role": "assistant", "content": None, "tool_calls": [call]}))
    await stage.request(x)
    left = json.loads(sent(x))["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert left == r'{"to": "<EMAIL_1>", "n": 1,  "text": "hi\n<EMAIL_2> \"x\""}'


@pytest.mark.parametrize("cut", [8, 20, 27, 40])
async def test_broken_arguments_in_history(stage: Redact, cut: int) -> None:
    """Arguments that a cut stream left unfinished are redacted all the same."""
    arguments = f'{{"to": "{ANN}", "cc": "{ANN}"}}'[:cut]
    call = {"id": "c", "type": "function", "function": {"name": "send", "arguments": arguments}}
    x = exchange("openai_chat", chat(ANN, {"role": "assistant", "content": None, "tool_calls": [call]}))
    await stage.request(x)
    assert ANN.encode() not in sent(x)


async def test_value_as_json_in_a_text(stage: Redact) -> None:
    """A value is also replaced where a text says it as JSON does."""
    x = exchange("openai_chat", chat('my name is Ann "Al"', "ok", '{"who": "Ann \\"Al\\""}'))
    await stage.request(x)
    assert json.loads(sent(x))["messages"][2]["content"] == '{"who": "<PERSON_1>"}'


THINKING = [
    {"type": "thinking", "thinking": f"about {ANN}", "signature": "c2lnbmVk/+="},
    {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"},
    {"type": "text", "text": "ok"},
]


async def test_thinking_is_never_touched(stage: Redact) -> None:
    """Signed and encrypted blocks leave as they came (openclaw-billing-proxy 28, headroom 2251)."""
    messages = [{"role": "user", "content": ANN}, {"role": "assistant", "content": THINKING}]
    x = exchange("anthropic", {"model": "m", "max_tokens": 1, "messages": messages})
    await stage.request(x)
    assert json.loads(sent(x))["messages"] == [{"role": "user", "content": "<EMAIL_1>"}, messages[1]]


UNSIGNED: list[tuple[str, Any]] = [
    ("anthropic", {"role": "user", "content": [{"type": "thinking", "thinking": ANN, "signature": "c2ln"}]}),
    ("anthropic", {"role": "assistant", "content": [{"type": "thinking", "thinking": ANN}]}),
    ("anthropic", {"role": "assistant", "content": [{"type": "thinking", "thinking": ANN, "signature": ANN}]}),
    ("anthropic", {"role": "assistant", "content": [{"type": "thinking", "signature": "c2ln", "note": ANN}]}),
    ("anthropic", {"role": "assistant", "content": [{"type": "redacted_thinking", "data": ANN}]}),
    ("anthropic", {"role": "user", "content": [{"type": "text", "text": "hi", "signature": "sk-abcdefghijk"}]}),
    ("anthropic", {"role": "user", "content": [{"type": "unheard of", "encrypted_content": "sk-abcdefghijk"}]}),
    ("anthropic", {"role": "assistant", "content": [{"type": "text", "text": "hi", "signature": "sk-abcdefghi"}]}),
    ("anthropic", {"role": "user", "content": [
        {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": f"to {ANN}"}}]}),
    ("anthropic", {"role": "user", "content": [
        {"type": "image", "source": {"type": "url", "url": f"data:text/plain,{ANN}"}}]}),
    ("openai_chat", {"role": "user", "content": [{"type": "text", "text": "hi", "signature": "sk-abcdefghijk"}]}),
    ("openai_chat", {"role": "user", "content": "hi", "encrypted_content": "sk-abcdefghijk"}),
    ("openai_chat", {"role": "user", "content": "hi", "thinking": ANN}),
    ("openai_chat", {"role": "assistant", "content": "hi", "signature": ANN}),
    ("openai_chat", {"role": "user", "content": "hi", "thinking_blocks": [{"thinking": ANN, "signature": "c2ln"}]}),
    ("openai_chat", {"role": "assistant", "content": "hi", "thinking_blocks": [{"thinking": ANN, "signature": ANN}]}),
    ("openai_responses", {"type": "compaction", "encrypted_content": ANN}),
    ("openai_responses", {"role": "user", "content": [{"type": "input_text", "signature": "sk-abcdefghijk"}]}),
    ("gemini", {"role": "user", "parts": [{"text": "hi", "thoughtSignature": "sk-abcdefghijk"}]}),
    ("gemini", {"role": "model", "parts": [{"text": "hi", "thoughtSignature": ANN}]}),
    ("gemini", {"role": "user", "parts": [{"inlineData": {"mimeType": "text/plain", "data": ANN}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "message"), UNSIGNED)
async def test_only_the_provider_signs(stage: Redact, dialect: str, message: Any) -> None:
    """What calls itself signed or encrypted is read, unless it lies in the provider's own message and looks so."""
    key = {"gemini": "contents", "openai_responses": "input"}.get(dialect, "messages")
    x = exchange(dialect, {"model": "m", "max_tokens": 1, key: [message]})
    await stage.request(x)
    assert ANN.encode() not in sent(x) and b"sk-abc" not in sent(x)


# --- what is done: type, provenance, identity, mode ---


@pytest.mark.parametrize(
    ("action", "leaves", "verdict"),
    [
        ("replace", "to <EMAIL_1>", Action.REDACT),
        ("mask", "to ********", Action.REDACT),
        ("hash", "to [EMAIL:", Action.REDACT),
        ("allow", f"to {ANN}", Action.ALLOW),
        ("refuse", f"to {ANN}", Action.REFUSE),
    ],
)
@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.OBSERVE])
async def test_actions(stage: Redact, action: Any, leaves: str, verdict: Action, mode: Mode) -> None:
    """Each action in each mode: observed, the original leaves; stored is never the original, unless it is allowed."""
    x = exchange("openai_chat", chat(f"to {ANN}"), rules_=rules(mode, action=action))
    await stage.request(x)
    assert [(v.action, v.mode, v.rule_id) for v in x.verdicts] == [(verdict, mode, "pii")]
    assert bool(x.refusal) == (action == "refuse" and mode is Mode.ENFORCE)
    left = json.loads(sent(x))["messages"][0]["content"]
    assert left.startswith(leaves if mode is Mode.ENFORCE else f"to {ANN}")
    stored = x.notes[STORED_TEXTS].get(("messages", 0, "content"), x.call.texts[0].text)
    assert (ANN in stored) == (action == "allow")


async def test_first_rule_decides(stage: Redact) -> None:
    """Type, provenance and identity choose the rule; the first that holds decides."""
    actions = [
        PiiAction(id="vip", user="boss", action="allow"),
        PiiAction(id="no-secrets", types=["SECRET"], action="refuse"),
        PiiAction(id="tools", types=["EMAIL"], provenance=["system"], action="mask"),
        PiiAction(id="watch", types=["PHONE"], action="mask", mode=Mode.OBSERVE),
    ]
    doc = {
        "model": "m",
        "max_tokens": 1,
        "system": BOB,
        "messages": [{"role": "user", "content": f"{ANN} +49 170 12345"}],
    }
    x = exchange("anthropic", doc, rules_=rules(actions=actions))
    await stage.request(x)
    left = json.loads(sent(x))
    assert (left["system"], left["messages"][0]["content"]) == ("********", "<EMAIL_1> +49 170 12345")
    assert {(v.rule_id, v.mode) for v in x.verdicts} == {
        ("tools", Mode.ENFORCE), ("pii", Mode.ENFORCE), ("watch", Mode.OBSERVE),
    }  # fmt: skip
    assert x.notes[STORED_TEXTS] == {("messages", 0, "content"): "<EMAIL_1> ********"}
    doc["messages"] = [{"role": "user", "content": "sk-abcdefghijkl"}]
    for user, refused in (("boss", False), (None, True)):
        x = exchange("anthropic", doc, rules_=rules(actions=actions))
        x.identity.user = user
        await stage.request(x)
        assert bool(x.refusal) == refused
        if refused:
            assert x.refusal and x.refusal.rule_id == "no-secrets"
            assert "sk-abcdefghijkl" not in x.refusal.reason
            assert "sk-abcdefghijkl" not in "".join(text.text for text in x.call.texts)


async def test_verdict_says_what_and_where(stage: Redact) -> None:
    """The audit learns types, counts and positions, never values."""
    x = exchange("openai_chat", chat(f"{ANN} {BOB} {ANN}", "hi", user=ANN))
    await stage.request(x)
    assert [v.reason for v in x.verdicts] == ["replaced 3 EMAIL in user, 1 EMAIL in metadata"]


async def test_failing_finder(stage: Redact) -> None:
    """A finder that fails raises (the guard refuses the call), and nothing of the call is stored."""
    stage.finder = Finder(fails=FinderFailed("worker died"))
    x = exchange("openai_chat", chat(ANN))
    with pytest.raises(FinderFailed):
        await stage.request(x)
    assert x.notes[STORED_TEXTS].get(x.call.texts[0].path, ANN) == WITHHELD


async def test_too_large(stage: Redact) -> None:
    """What would only run out of its time is refused at once, not to be tried again, and nothing of it is stored."""
    stage.finder = Finder(fails=TooMuch("it has 9 new characters, of at most 5 (new_characters)"))
    x = exchange("openai_chat", chat(ANN), rules_=rules(Mode.OBSERVE))
    await stage.request(x)
    assert x.refusal and (x.refusal.status, x.refusal.retry_after) == (413, None)
    assert "new_characters" in x.refusal.reason and "rules/pii.yaml" in x.refusal.reason
    assert x.notes[STORED_TEXTS].get(x.call.texts[0].path, ANN) == WITHHELD


@pytest.mark.parametrize("path", ["/v1/chat/completions?" + "&".join(f"p{n}={ANN}" for n in range(120)), "/a" * 120])
async def test_a_url_of_too_many_parts(stage: Redact, path: str) -> None:
    """A URL that nobody means to send is the client's fault: 414, in every mode, and nothing of the call is stored."""
    x = exchange("openai_chat", chat(ANN), rules_=rules(Mode.OBSERVE))
    x.path = path
    await stage.request(x)
    assert x.refusal and (x.refusal.status, x.refusal.rule_id) == (414, "pii.url")
    assert ANN not in x.refusal.reason
    assert x.notes[STORED_TEXTS].get(x.call.texts[0].path, ANN) == WITHHELD


async def test_stored_answer(stage: Redact) -> None:
    """What is stored of an answer has neither the caller's values, sent in clear, nor any others."""
    x = exchange("openai_chat", chat(f"{ANN}, my name is Ann"), rules_=rules(Mode.OBSERVE))
    await stage.request(x)
    back_json(stage, x, said(f"Ann ({ANN}) knows {BOB}"))
    assert stage.needs_settling(x)
    await asyncio.to_thread(stage.settle, x)
    assert x.notes[STORED_ANSWER] == {0: "<PERSON_1> (<EMAIL_1>) knows <EMAIL>"}
    assert not stage.needs_settling(x)


@pytest.mark.parametrize("error", [FinderFailed("died"), ValueError("a fault of ours"), KeyError("another")])
@pytest.mark.parametrize("hook", ["find", "remembered"])
async def test_answer_that_cannot_be_searched(stage: Redact, error: Exception, hook: str) -> None:
    """Whatever keeps an answer from being searched, nothing of it is stored."""
    x = exchange("openai_chat", chat("hi"))
    await stage.request(x)
    x.answer = x.dialect.read_answer(said(BOB) | {"model": "of bob@example.com"})

    def fails(_: Any) -> Any:
        raise error

    setattr(stage.finder, hook, fails)
    guard = Guard()
    if guard.needs_settling(stage, x):
        await asyncio.to_thread(guard.settle, stage, x)
    guard.finish(stage, x)
    assert guard.failures["redact"]
    assert x.notes[STORED_ANSWER].get(0, BOB) == WITHHELD == answer_model(x)


async def test_claims_of_an_answer(stage: Redact) -> None:
    """A value in the model's name, in that of a tool, or in the word for an error is not stored either."""
    call = {"id": "t", "type": "function", "function": {"name": "to bob@example.com", "arguments": "{}"}}
    message = {"role": "assistant", "content": "fine", "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": BOB}
    x = exchange("openai_chat", chat("hi"))
    await stage.request(x)
    x.answer = x.dialect.read_answer({"id": "c1", "model": "of bob@example.com", "choices": [choice]})
    x.answer.error = "+49 30 1234567"
    assert stage.needs_settling(x)
    await asyncio.to_thread(stage.settle, x)
    stored = answer_texts(x, Content.REDACTED, "now")
    row = dict(zip(OUTCOME_COLUMNS, outcome_columns(x), strict=True))
    assert (row["answer_model"], row["finish_reason"], row["error"]) == ("of <EMAIL>", "other", "other")
    assert [text for _, text in messages(stored)] == ["fine", "to <EMAIL>\n{}"]


async def test_claims_of_a_client(stage: Redact) -> None:
    """Nor what a client's User-Agent, trace, or name of a conversation holds."""
    x = exchange("openai_responses", {"model": "gpt-5", "input": "hi", "previous_response_id": f"resp {ANN}"})
    x.user_agent, x.traceparent = f"agent/1 ({ANN})", f"00-{ANN}"
    x.identity.attest("user_agent", tool="agent")
    await stage.request(x)
    row = dict(zip(REQUEST_COLUMNS, request_columns(x, Hasher(bytes(32))), strict=True))
    assert row["user_agent"].startswith("agent/1 (<EMAIL_") and (row["traceparent"], row["tool"]) == (None, None)
    assert row["history_at_provider"] and ANN not in str(row)


async def test_a_tool_is_known_at_its_first_call(stage: Redact) -> None:
    """A User-Agent that was never searched is not shown until it was; then its tool counts, for quotas and rules."""
    x = exchange("openai_chat", chat("hi"))
    x.user_agent = "other-agent/2.0 (a build that nobody has seen before)"
    x.identity.attest("user_agent", tool="other-agent", tool_version="2.0")
    await stage.request(x)
    assert x.user_agent == "other-agent/2.0 (a build that nobody has seen before)"
    assert (x.identity.tool, x.identity.tool_version) == ("other-agent", "2.0")


def test_words_of_an_api() -> None:
    """What may end an answer is kept as it is; what is no API's word is not."""
    for word_ in ("stop", "MAX_TOKENS", "end_turn", "content_filter", "invalid_request_error", "429", None):
        assert word(word_) == word_
    for other in (ANN, "219-09-9998", "Ann Lee", "sk_live_abcd1234efgh5678", "", "x" * 65):
        assert word(other) == "other"


# --- what returns ---


@pytest.mark.parametrize("sizes", [(), (1,), (7,), (64, 3)])
async def test_split_over_chunks(stage: Redact, sizes: tuple[int, ...]) -> None:
    """`<EMAIL` + `_1>` split over events and chunks is restored, and what is truncated is nobody's address."""
    x = exchange("openai_chat", chat(ANN, stream=True))
    await stage.request(x)
    raw = deltas("to <EM", "AIL", "_1", "> and <EMAIL_", "2> a < b ", "<EMAIL_")
    back = contents(back_stream(stage, x, raw, sizes))
    assert "".join(back) == f"to {ANN} and <EMAIL_2> a < b <EMAIL_"


async def test_events_stay_events(stage: Redact) -> None:
    """Every event goes on at once: one out for one in, and only a possible placeholder waits (litellm 29134)."""
    x = exchange("openai_chat", chat(ANN, stream=True))
    await stage.request(x)
    raw = deltas("a", " b <", "EMAIL_1", "> c", " d")
    events = [event + b"\n\n" for event in raw.split(b"\n\n")[:-1]]
    out = stream_chunks(stage, x, b"".join(events), [len(event) for event in events])
    # sizes repeat per turn, so each chunk is one event
    assert [len(pieces) for pieces in out] == [1] * len(events) + [0]
    assert contents(b"".join(b"".join(pieces) for pieces in out)) == ["a", " b ", "", f"{ANN} c", " d"]
    assert out[0][0] == events[0]


async def test_unfinished_before_the_end(stage: Redact) -> None:
    """What was held comes before the event that ends its text, not after."""
    x = exchange("openai_chat", chat(ANN, stream=True))
    await stage.request(x)
    back = back_stream(stage, x, deltas("to <EMAIL_")).decode()
    events = back.split("\n\n")
    assert json.loads(events[1][6:])["choices"][0] == {"index": 0, "delta": {"content": "<EMAIL_"}}
    assert '"finish_reason": "stop"' in events[2] and events[3] == "data: [DONE]"


async def test_stream_cut(stage: Redact) -> None:
    """A stream that is cut says all it said."""
    x = exchange("openai_chat", chat(ANN, stream=True))
    await stage.request(x)
    raw = deltas("to <EMAIL_").split(b"\n\n")[0] + b"\n\n"
    assert "".join(contents(back_stream(stage, x, raw))) == "to <EMAIL_"


async def test_choices_do_not_mix(stage: Redact) -> None:
    """Each choice is a text of its own, however they take turns."""
    x = exchange("openai_chat", chat(ANN, stream=True, n=2))
    await stage.request(x)
    turns = [(0, "<EMA"), (1, "<EM"), (0, "IL_1"), (1, "AIL_1> b"), (0, "> a"), (1, "<")]
    docs = [{"choices": [{"index": i, "delta": {"content": text}}]} for i, text in turns]
    docs += [{"choices": [{"index": i, "delta": {}, "finish_reason": "stop"}]} for i in (0, 1)]
    raw = b"".join(b"data: " + json.dumps(doc).encode() + b"\n\n" for doc in docs) + b"data: [DONE]\n\n"
    texts = {0: "", 1: ""}
    for event in back_stream(stage, x, raw).decode().split("\n\n"):
        if event.startswith("data: {"):
            choice = json.loads(event[6:])["choices"][0]
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == {0: f"{ANN} a", 1: f"{ANN} b<"}


NAME = 'Ann "Al" O\\Neil'


@pytest.mark.parametrize("left, right", [("<", ">"), ("\\u003c", "\\u003e")])
@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_arguments_in_a_stream(stage: Redact, left: str, right: str, size: int) -> None:
    """A value comes back into tool-call arguments escaped, in both forms a placeholder may have there."""
    x = exchange("openai_chat", chat(f"my name is {NAME}", stream=True))
    await stage.request(x)
    assert NAME.encode() not in sent(x)
    arguments = f'{{"to": "{left}PERSON_1{right}", "n": 1}}'
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    calls = [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
    back = back_stream(stage, x, deltas(*calls)).decode()
    docs = [json.loads(event[6:]) for event in back.split("\n\n") if event.startswith("data: {")]
    said_ = "".join(
        call["function"]["arguments"] for doc in docs for call in doc["choices"][0]["delta"].get("tool_calls", [])
    )
    assert json.loads(said_) == {"to": NAME, "n": 1}


STRUCTURED = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("dialect", "ask", "answer"),
    [
        (
            "openai_chat",
            chat(f"my name is {NAME}", response_format=STRUCTURED),
            lambda text: said(text),
        ),
        (
            "openai_responses",
            {"model": "m", "input": f"my name is {NAME}", "text": {"format": {"type": "json_schema", "name": "x"}}},
            lambda text: {"output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}]},
        ),
        (
            "anthropic",
            {
                "model": "m",
                "max_tokens": 1,
                "messages": [{"role": "user", "content": f"my name is {NAME}"}],
                "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            },
            lambda text: {"type": "message", "content": [{"type": "text", "text": text}]},
        ),
        (
            "gemini",
            {
                "contents": [{"role": "user", "parts": [{"text": f"my name is {NAME}"}]}],
                "generationConfig": {"responseMimeType": "application/json"},
            },
            lambda text: {"candidates": [{"content": {"parts": [{"text": text}]}}]},
        ),
    ],
    ids=["chat", "responses", "anthropic", "gemini"],
)
async def test_structured_output(stage: Redact, dialect: str, ask: Any, answer: Any) -> None:
    """A value comes back into a structured output escaped for JSON."""
    path = "/v1beta/models/m:generateContent" if dialect == "gemini" else "/v1/x"
    x = exchange(dialect, ask, path)
    await stage.request(x)
    assert NAME not in json.dumps(json.loads(sent(x)), ensure_ascii=False)
    back = back_json(stage, x, answer('{"name": "<PERSON_1>"}'))
    (text,) = [text.text for text in x.dialect.answer_texts(back)]
    assert json.loads(text) == {"name": NAME}


async def test_gemini_array(stage: Redact) -> None:
    """In a JSON array what is left comes as an element before the array's end."""
    doc = {"contents": [{"role": "user", "parts": [{"text": ANN}]}]}
    x = exchange("gemini", doc, "/v1beta/models/m:streamGenerateContent")
    assert x.framing is Framing.JSON_ARRAY
    await stage.request(x)
    chunks = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in ("a <EMA", "IL_1> <EMAIL")]
    back = json.loads(back_stream(stage, x, json.dumps(chunks).encode(), (3,), Framing.JSON_ARRAY))
    texts = [doc["candidates"][0]["content"]["parts"][0]["text"] for doc in back]
    assert "".join(texts) == f"a {ANN} <EMAIL"


async def test_error_message(stage: Redact) -> None:
    """A provider's error that quotes a placeholder is restored too."""
    x = exchange("openai_chat", chat(ANN))
    await stage.request(x)
    back = back_json(stage, x, {"error": {"message": "no <EMAIL_1>", "type": "t", "code": None}})
    assert back["error"]["message"] == f"no {ANN}"


# --- history at the provider ---


def responses(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": text, **fields}


def output(text: str, answer_id: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {
        "id": answer_id,
        "object": "response",
        "status": "completed",
        "output": [{"type": "message", "content": content}],
    }


async def turn(stage: Redact, doc: Any, says: str, answer_id: str, key: str = "k") -> tuple[str, str]:
    """One turn: what is sent as input, and what the client reads."""
    x = exchange("openai_responses", doc, "/v1/responses")
    x.credential = key
    await stage.request(x)
    left = json.loads(sent(x))["input"]
    back = back_json(stage, x, output(says, answer_id))
    return left, back["output"][0]["content"][0]["text"]


async def test_vault(stage: Redact, tmp_path: Path) -> None:
    """A conversation that the provider keeps goes on with the same names, after a restart too, for its caller only."""
    assert await turn(stage, responses(ANN), "<EMAIL_1>", "r1") == ("<EMAIL_1>", ANN)
    follow = responses(f"{BOB} {ANN}", previous_response_id="r1")
    assert await turn(stage, follow, "<EMAIL_1> <EMAIL_2>", "r2") == ("<EMAIL_2> <EMAIL_1>", f"{ANN} {BOB}")
    await stage.vault.stop()
    assert ANN.encode() not in b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    again = Redact(tmp_path / "data", Finder())
    await again.start()
    assert await turn(again, responses("who?", previous_response_id="r2"), "<EMAIL_1> <EMAIL_2>", "r3") == (
        "who?", f"{ANN} {BOB}",
    )  # fmt: skip
    left, read = await turn(again, follow, "<EMAIL_1>", "r4", key="other")
    assert read == "<EMAIL_1>"  # another caller learns nothing
    assert "<EMAIL_1>" not in left and "@" not in left
    await again.stop()


async def test_unknown_history(stage: Redact) -> None:
    """Of an unknown past no old name is taken for a new one: the numbers begin elsewhere."""
    left, read = await turn(stage, responses(BOB, previous_response_id="gone"), "<EMAIL_1>", "r9")
    assert read == "<EMAIL_1>"
    assert int(left.removeprefix("<EMAIL_").removesuffix(">")) >= 10_000


async def test_vault_on_a_full_disk(stage: Redact) -> None:
    """Names that could not be kept: the conversation goes on, no value leaves, and none is restored wrongly."""
    conn = stage.vault._conn
    conn.execute(f"pragma max_page_count={conn.execute('pragma page_count').fetchone()[0]}")
    many = " ".join(f"a{n}@example.com" for n in range(2000))
    await turn(stage, responses(f"{ANN} {many}"), "x", "r1")
    stage.vault._thread.submit(lambda: None).result(10)
    left, read = await turn(stage, responses(f"{BOB} {ANN}", previous_response_id="r1"), "<EMAIL_1>", "r2")
    assert read == "<EMAIL_1>" and "@" not in left and "<EMAIL_1>" not in left
    assert "writes to the vault failed" in stage.health()["warning"]


async def test_warnings(tmp_path: Path) -> None:
    """/health warns of rules that were not taken over, and of a vault that was set aside."""
    (tmp_path / "vault.db").write_bytes(b"garbage" * 1000)
    stage = Redact(tmp_path, Finder())
    await stage.start()
    assert "vault.db.damaged" in stage.health()["warning"]
    stage.finder.health = lambda: Health(True, False, detail="the rules before are in force: no such model")  # type: ignore[method-assign]
    assert stage.health()["warning"].startswith("the rules before are in force: no such model; vault.db")
    assert "problem" not in stage.health()
    house = House([stage], cast(Any, SimpleNamespace(version="v")), cast(Any, None), cast(Any, None), phase=Phase.READY)
    said = house.health()
    assert said["status"] == "ready" and said["warnings"] == [f"redact: {stage.health()['warning']}"]
    await stage.stop()


async def test_vault_that_cannot_be_read(stage: Redact, tmp_path: Path) -> None:
    """An entry that is not whole is an error, for which the engine refuses the call; nothing is stored of it."""
    await turn(stage, responses(ANN), "<EMAIL_1>", "r1")
    stage.vault._thread.submit(lambda: None).result(10)
    stage.vault._conn.execute("update names set sealed = zeroblob(40)")
    x = exchange("openai_responses", responses(BOB, previous_response_id="r1"), "/v1/responses")
    x.credential = "k"
    with pytest.raises(sqlite3.DatabaseError):
        await stage.request(x)
    assert x.notes[STORED_TEXTS].get(("input",)) == WITHHELD


async def test_vault_knows_before_the_stream_ends(stage: Redact) -> None:
    """The client may go on as soon as it read the answer's id."""
    x = exchange("openai_responses", responses(ANN, stream=True), "/v1/responses")
    x.credential = "k"
    await stage.request(x)
    created = {"type": "response.created", "response": {"id": "r1", "output": []}}
    raw = f"event: response.created\ndata: {json.dumps(created)}\n\n".encode()
    transform = stage.stream(x)
    assert transform
    from mitmesh.answering import Tap
    from mitmesh.guard import Guard

    Tap(x, Framing.SSE, "", [(stage, transform)], Guard(), lambda: None, lambda: b"")(raw)
    assert await stage.vault.load("k", "r1") == {"EMAIL_1": ANN}


async def test_not_kept_when_not_stored(stage: Redact) -> None:
    """What the provider does not keep (`store: false`) is not kept here."""
    await turn(stage, responses(ANN, store=False), "<EMAIL_1>", "r1")
    assert await stage.vault.load("k", "r1") is None


# --- what the provider keeps ---

UPLOAD = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nboss: %s\r\n--B--\r\n"
)


async def ask(
    stage: Redact, dialect: str, path: str, doc: Any, answer: Any = None, key: str = "k", method: str = "POST"
) -> tuple[str, Any]:
    """One call: what leaves, and what the client reads of the answer."""
    kind = "multipart/form-data; boundary=B" if isinstance(doc, bytes) and doc else "application/json"
    x = exchange(dialect, b"" if doc is None else doc, path, content_type=kind)
    x.credential, x.method = key, method
    await stage.request(x)
    left = sent(x).decode() if x.body else ""
    return left, back_json(stage, x, answer) if answer is not None else None


def names(text: str) -> list[str]:
    """The placeholders in a text."""
    return re.findall(r"<[A-Z]+_[0-9]+>", text)


def thread_message(text: str) -> dict[str, Any]:
    return {"id": "msg_1", "object": "thread.message", "content": [{"type": "text", "text": {"value": text}}]}


@pytest.mark.parametrize("dialect", ["openai_responses", "openai_chat"])
async def test_file_beside_other_texts(stage: Redact, dialect: str) -> None:
    """A name in a file is not taken for another's in the call that refers to it, and both are restored."""
    left, _ = await ask(stage, "generic", "/v1/files", UPLOAD % ANN.encode(), {"id": "file-1", "object": "file"})
    [boss] = names(left)
    if dialect == "openai_chat":
        part = [{"type": "file", "file": {"file_id": "file-1"}}, {"type": "text", "text": f"{BOB} asks"}]
        doc: Any = chat(part)
        answer = said(f"{boss} is whom <EMAIL_1> looks for")
    else:
        part = [{"type": "input_file", "file_id": "file-1"}, {"type": "input_text", "text": f"{BOB} asks"}]
        doc = responses([{"role": "user", "content": part}])
        answer = output(f"{boss} is whom <EMAIL_1> looks for", "r1")
    left, back = await ask(stage, dialect, "", doc, answer)
    assert names(left) != [boss] and ANN in str(back) and BOB not in str(back)
    left, back = await ask(stage, dialect, "", doc, answer, key="another caller's")
    assert ANN not in str(back)


async def test_two_files(stage: Redact) -> None:
    """Each file has its own names."""
    one, _ = await ask(stage, "generic", "/v1/files", UPLOAD % ANN.encode(), {"id": "file-1"})
    two, _ = await ask(stage, "generic", "/v1/files", UPLOAD % BOB.encode(), {"id": "file-2"})
    parts = [{"type": "file", "file": {"file_id": each}} for each in ("file-1", "file-2")]
    _, back = await ask(stage, "openai_chat", "", chat(parts), said(f"{names(one)[0]} and {names(two)[0]}"))
    assert back["choices"][0]["message"]["content"] == f"{ANN} and {BOB}"


async def test_conversation_items(stage: Redact) -> None:
    """A conversation's names go on from call to call, whichever path adds to it."""
    item = {"type": "message", "role": "user", "content": ANN}
    left, _ = await ask(stage, "generic", "/v1/conversations", {"items": [item]}, {"id": "conv_1"})
    assert names(left) == ["<EMAIL_1>"]
    left, back = await ask(
        stage, "openai_responses", "", responses(BOB, conversation="conv_1"), output("<EMAIL_1> <EMAIL_2>", "r1")
    )
    assert names(left) == ["<EMAIL_2>"] and f"{ANN} {BOB}" in str(back)
    item["content"] = "carl@example.com"
    left, back = await ask(stage, "generic", "/v1/conversations/conv_1/items", {"items": [item]}, {"data": []})
    assert names(left) == ["<EMAIL_3>"]
    _, back = await ask(stage, "generic", "/v1/conversations/conv_1/items", None, {"data": [{"x": "<EMAIL_3>"}]})
    assert back["data"][0]["x"] == "carl@example.com"
    left, _ = await ask(stage, "generic", "/v1/conversations/unknown/items", {"items": [item]}, {"data": []})
    assert int(names(left)[0][7:-1]) >= 10_000


async def test_threads(stage: Redact) -> None:
    """The same for threads, and for what is added when no answer came."""
    message = {"role": "user", "content": ANN}
    await ask(stage, "generic", "/v1/threads", {"messages": [message]}, {"id": "thread_1"})
    left, _ = await ask(stage, "generic", "/v1/threads/thread_1/messages", {"role": "user", "content": BOB})
    assert names(left) == ["<EMAIL_2>"]
    _, back = await ask(
        stage, "generic", "/v1/threads/thread_1/messages", None, {"data": [thread_message("<EMAIL_1> <EMAIL_2>")]}
    )
    assert f"{ANN} {BOB}" in str(back)


async def test_cached_contents(stage: Redact) -> None:
    """What Gemini keeps to be put before a call has the first numbers, the call the next."""
    kept = {"model": "models/m", "contents": [{"role": "user", "parts": [{"text": f"{ANN} is the boss"}]}]}
    await ask(stage, "gemini", "/v1beta/cachedContents", kept, {"name": "cachedContents/abc"})
    doc = {"cachedContent": "cachedContents/abc", "contents": [{"role": "user", "parts": [{"text": BOB}]}]}
    answer = {"candidates": [{"content": {"role": "model", "parts": [{"text": "<EMAIL_1> <EMAIL_2>"}]}}]}
    left, back = await ask(stage, "gemini", "", doc, answer)
    assert names(left) == ["<EMAIL_2>"] and f"{ANN} {BOB}" in str(back)


async def test_stored_items(stage: Redact) -> None:
    """What a provider gives back of its own is restored: an answer's input, a stored chat."""
    await ask(stage, "openai_responses", "", responses(ANN), output("<EMAIL_1>", "resp_1"))
    items = {"data": [{"type": "message", "content": [{"type": "input_text", "text": "<EMAIL_1>"}]}]}
    _, back = await ask(stage, "openai_responses", "/v1/responses/resp_1/input_items", None, items, method="GET")
    assert ANN in str(back)
    await ask(stage, "openai_chat", "", chat(ANN, store=True), {**said("hi"), "id": "chatcmpl-1"})
    _, back = await ask(stage, "openai_chat", "/v1/chat/completions/chatcmpl-1", None, said("<EMAIL_1>"), method="GET")
    assert ANN in str(back)
    _, back = await ask(stage, "generic", "/v1/chat/completions/chatcmpl-1", None, said("<EMAIL_1>"), key="other")
    assert ANN not in str(back)


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_batch_results(stage: Redact, size: int) -> None:
    """A batch's results and a file's content come as text."""
    left, _ = await ask(stage, "generic", "/v1/files", UPLOAD % ANN.encode(), {"id": "file-1"})
    name = names(left)[0]
    await ask(stage, "generic", "/v1/batches", {"input_file_id": "file-1"}, {"id": "batch_1"})
    await ask(stage, "generic", "/v1/batches/batch_1", None, {"id": "batch_1", "output_file_id": "file-9"})
    x = exchange("generic", b"", "/v1/files/file-9/content")
    x.credential = "k"
    await stage.request(x)
    rewrite = stage.text(x)
    assert rewrite
    raw = f'{{"a": "to {name}"}}\n'.encode()
    back = b"".join([rewrite.feed(raw[at : at + size]) for at in range(0, len(raw), size)]) + rewrite.end()
    assert back == f'{{"a": "to {ANN}"}}\n'.encode()


# --- signed bodies ---

AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKIDCLIENT/20250101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=00"
)


async def test_signed_is_refused(stage: Redact) -> None:
    """A signed body that had to be changed is refused with that reason; one without values passes."""
    doc = {"max_tokens": 1, "messages": [{"role": "user", "content": ANN}]}
    x = exchange("anthropic", doc, "/model/m/invoke", authorization=AUTHORIZATION)
    await stage.request(x)
    assert x.refusal and x.refusal.type == "signed_body" and "signing" in x.refusal.reason
    doc["messages"] = [{"role": "user", "content": "hi"}]
    x = exchange("anthropic", doc, "/model/m/invoke", authorization=AUTHORIZATION)
    await stage.request(x)
    assert x.refusal is None and x.headers["authorization"] == AUTHORIZATION


async def test_signed_again(stage: Redact, monkeypatch: pytest.MonkeyPatch) -> None:
    """With credentials it is signed again, over what is sent."""
    monkeypatch.setenv("MY_ID", "AKIDOURS")
    monkeypatch.setenv("MY_SECRET", "secret")
    doc = {"max_tokens": 1, "messages": [{"role": "user", "content": ANN}]}
    signing = {"access_key": "env:MY_ID", "secret_key": "env:MY_SECRET"}
    x = exchange("anthropic", doc, "/model/m/invoke", rules(signing=signing), authorization=AUTHORIZATION)
    x.target = Target("https", "bedrock-runtime.us-east-1.amazonaws.com", 443)
    await stage.request(x)
    assert x.refusal is None
    assert "Credential=AKIDOURS/" in x.headers["authorization"] and "/us-east-1/bedrock/" in x.headers["authorization"]


@pytest.mark.parametrize(
    ("path", "authorization", "reason"),
    [
        ("/v1/x", AUTHORIZATION, "not Bedrock"),
        ("/v1/x?X-Amz-Signature=ab", "", "in the URL"),
        ("/v1/x", AUTHORIZATION.replace("AWS4-HMAC-SHA256", "aws4-hmac-sha256"), "no scope"),
    ],
)
async def test_not_signed_again(
    stage: Redact, monkeypatch: pytest.MonkeyPatch, path: str, authorization: str, reason: str
) -> None:
    """What is signed and not for us to sign is refused with the reason: our keys are good for Bedrock alone."""
    monkeypatch.setenv("MY_ID", "AKIDOURS")
    monkeypatch.setenv("MY_SECRET", "secret")
    signing = {"access_key": "env:MY_ID", "secret_key": "env:MY_SECRET"}
    x = exchange("generic", {"a": ANN}, path, rules(signing=signing), authorization=authorization)
    await stage.request(x)
    assert x.refusal and x.refusal.type == "signed_body" and reason in x.refusal.reason
    assert "AKIDOURS" not in x.headers["authorization"]


# --- what is no string value ---


async def test_names_and_numbers(stage: Redact) -> None:
    """Names of members and long numbers are looked at too; both come back under their names."""
    stage.finder = Finder(re.compile(r"(?P<EMAIL>[\w.]+@[\w.]+\w)|(?P<CARD>\b4\d{15}\b)"))
    book = {ANN: {"card": 4111111111111111, "n": 12345678}, "x": [4111111111111111]}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": book}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [call]}]
    x = exchange("anthropic", {"model": "m", "max_tokens": 1, "messages": messages})
    await stage.request(x)
    left = json.loads(sent(x))["messages"][1]["content"][0]["input"]
    assert left == {"<EMAIL_1>": {"card": "<CARD_1>", "n": 12345678}, "x": ["<CARD_1>"]}
    answer = {"type": "message", "content": [{**call, "input": {"<EMAIL_1>": {"to": "<CARD_1>"}}}]}
    back = back_json(stage, x, answer)
    assert back["content"][0]["input"] == {ANN: {"to": "4111111111111111"}}


async def test_names_that_are_masked_alike(stage: Redact) -> None:
    """Two names that become the same both stay."""
    x = exchange("generic", {ANN: 1, BOB: 2}, rules_=rules(action="mask"))
    await stage.request(x)
    assert json.loads(sent(x)) == {"********": 1, "********_": 2}
