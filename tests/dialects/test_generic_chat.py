"""Chats of APIs that are read generically: what they ask for, what bounds them, what they tell."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.dialects.base import Event, Framing, Operation, Provenance, Refusal, Usage
from mitmesh.dialects.generic import Generic
from mitmesh.dialects.generic_chat import latest, usage
from mitmesh.wire.frames import framer

GENERIC = Generic()
HI = [{"role": "user", "content": "hi"}]
NOVA = "/model/us.amazon.nova-pro-v1%3A0"
ASSIST = "/v1internal:streamGenerateContent"


@pytest.mark.parametrize(
    ("path", "doc", "operation", "framing", "bound", "cap"),
    [
        ("/api/chat", {"messages": HI}, "chat", "ndjson", None, (("options",), {"num_predict": 9})),
        (
            "/api/chat",
            {"messages": HI, "stream": False, "max_tokens": 1},
            "chat",
            "none",
            None,
            (("options",), {"num_predict": 9}),
        ),
        (
            "/ollama/api/generate/",
            {"prompt": "x", "options": {"num_predict": 5}},
            "chat",
            "ndjson",
            5,
            (("options", "num_predict"), 9),
        ),
        (
            "/api/chat",
            {"messages": HI, "options": {"num_predict": -1}},
            "chat",
            "ndjson",
            None,
            (("options", "num_predict"), 9),
        ),
        ("/api/chat", {"messages": HI, "options": []}, "chat", "ndjson", None, None),
        ("/v2/chat", {"messages": HI, "max_tokens": 7}, "chat", "none", 7, (("max_tokens",), 9)),
        ("/v1/chat?x=1", {"message": "hi", "stream": True}, "chat", "sse", None, (("max_tokens",), 9)),
        (
            f"{NOVA}/converse",
            {"messages": HI, "max_tokens": 1},
            "chat",
            "none",
            None,
            (("inferenceConfig",), {"maxTokens": 9}),
        ),
        (
            f"{NOVA}/converse-stream",
            {"inferenceConfig": {"maxTokens": 3}},
            "chat",
            "aws",
            3,
            (("inferenceConfig", "maxTokens"), 9),
        ),
        (
            f"{NOVA}/invoke",
            {"inferenceConfig": {"maxTokens": 3}},
            "chat",
            "none",
            3,
            (("inferenceConfig", "maxTokens"), 9),
        ),
        (
            "/model/meta.llama3/invoke-with-response-stream",
            {"prompt": "x", "max_gen_len": 4},
            "chat",
            "aws",
            4,
            (("max_gen_len",), 9),
        ),
        (
            "/model/amazon.titan-text/invoke",
            {"textGenerationConfig": {"maxTokenCount": 8}},
            "chat",
            "none",
            8,
            (("textGenerationConfig", "maxTokenCount"), 9),
        ),
        ("/model/amazon.titan-embed-text-v2/invoke", {"inputText": "x"}, "other", "none", None, None),
        ("/model/amazon.titan-image-generator-v2/invoke", {"taskType": "x"}, "other", "none", None, None),
        ("/model/amazon.nova-canvas-v1/invoke", {"taskType": "x"}, "other", "none", None, None),
        ("/model/stability.sd3/invoke", {"prompt": "x"}, "other", "none", None, None),
        (
            ASSIST,
            {"request": {"contents": []}},
            "chat",
            "json_array",
            None,
            (("request", "generationConfig"), {"maxOutputTokens": 9}),
        ),
        (
            f"{ASSIST}?alt=sse",
            {"request": {"generationConfig": {"maxOutputTokens": 2}}},
            "chat",
            "sse",
            2,
            (("request", "generationConfig", "maxOutputTokens"), 9),
        ),
        ("/v1internal:countTokens", {"request": {}}, "count_tokens", "none", None, None),
        (f"{NOVA}/count-tokens", {"input": {}}, "count_tokens", "none", None, None),
        ("/x", {"messages": HI, "max_new_tokens": 6, "parameters": {"max_tokens": 5}}, "chat", "none", 6, None),
        ("/x", {"input": "hi", "stream": True}, "chat", "sse", None, None),
        ("//api/./CHAT", {"messages": HI}, "chat", "ndjson", None, (("options",), {"num_predict": 9})),
        ("/completion", {"prompt": "x", "n_predict": 4}, "chat", "none", 4, None),
        ("/generate_stream", {"inputs": "x", "parameters": {"max_new_tokens": 4}}, "chat", "sse", 4, None),
        ("/api/organizations/o/chat_conversations/c/completion", {"prompt": "x"}, "chat", "none", None, None),
        ("/v1/images/generations", {"prompt": "x", "stream": True}, "other", "sse", None, None),
        ("/v1/threads", {"messages": HI}, "other", "none", None, None),
        ("/v1/threads/runs", {"assistant_id": "a", "stream": True}, "chat", "sse", None, None),
        ("/v1/threads/t/runs", {"assistant_id": "a", "stream": True}, "chat", "sse", None, None),
        ("/x", {"messages": "hi"}, "other", "none", None, None),
        ("/x", [{"messages": HI}], "other", "none", None, None),
    ],
)
def test_what_is_asked(path: str, doc: Any, operation: str, framing: str, bound: int | None, cap: Any) -> None:
    """Operation, framing and bound; a bound that the API does not heed is none."""
    call = GENERIC.read(doc, path, {})
    assert (call.operation, GENERIC.framing(call, path)) == (Operation(operation), Framing(framing))
    assert (call.max_tokens, GENERIC.cap_output(doc, 9, "", path)) == (bound, cap)
    assert call.stream is (framing != "none")


def test_who_wrote_it() -> None:
    """Messages have their role; media are no words, and what is not known is metadata."""
    doc = {
        "model": "m",
        "system": [{"text": "be kind"}],
        "tools": [{"name": "t"}],
        "messages": [
            {"role": "user", "content": [{"text": "hi"}, {"image": "iVBORw0KGgo" * 60}]},
            {"role": "assistant", "content": "yes"},
            {"role": "TOOL", "content": "42"},
            {"role": "developer", "content": "go"},
            {"role": 5, "content": "what"},
            "odd",
        ],
        "documents": [{"data": {"text": "a source"}}],
    }
    said = [(text.text[:8], text.provenance, text.message) for text in GENERIC.read(doc, "/x", {}).texts]
    assert [one for one in said if one[1] is not Provenance.METADATA] == [
        ("be kind", Provenance.SYSTEM, 0),
        ("t", Provenance.TOOL_DEFINITION, 1),
        ("hi", Provenance.USER, 2),
        ("yes", Provenance.ASSISTANT, 3),
        ("42", Provenance.TOOL_RESULT, 4),
        ("go", Provenance.SYSTEM, 5),
        ("what", Provenance.USER, 6),
        ("odd", Provenance.DOCUMENT, -1),
        ("a source", Provenance.DOCUMENT, -1),
    ]
    wrapped = GENERIC.read({"request": {"contents": [{"role": "model", "parts": [{"text": "x"}]}]}}, ASSIST, {})
    assert [(text.text, text.provenance) for text in wrapped.texts][-1] == ("x", Provenance.ASSISTANT)
    assert GENERIC.read({"prompt": "hi"}, "/api/generate", {}).texts[0].provenance is Provenance.USER


@pytest.mark.parametrize(
    ("path", "doc", "cap"),
    [
        ("/model/amazon.nova-lite-v1:0/invoke", {"messages": []}, (("inferenceConfig",), {"maxTokens": 9})),
        ("/model/amazon.titan-text-v1/invoke", {"inputText": "x"}, (("textGenerationConfig",), {"maxTokenCount": 9})),
        ("/model/us.meta.llama3-v1:0/invoke", {"prompt": "x"}, (("max_gen_len",), 9)),
        ("/model/mistral.mistral-large/invoke", {"prompt": "x"}, (("max_tokens",), 9)),
        ("/model/cohere.command-r/invoke-with-response-stream", {"message": "x"}, (("max_tokens",), 9)),
        ("/model/anthropic.claude-v2:1/invoke", {"prompt": "x"}, (("max_tokens_to_sample",), 9)),
        ("/model/nobody.knows/invoke", {"prompt": "x"}, None),
        ("/api/chat", {"options": None}, (("options",), {"num_predict": 9})),
        (f"{NOVA}/converse", {"inferenceConfig": None}, (("inferenceConfig",), {"maxTokens": 9})),
    ],
)
def test_what_bounds_it(path: str, doc: Any, cap: Any) -> None:
    """At Bedrock's InvokeModel each family of models has its own name; null is none."""
    assert GENERIC.cap_output(doc, 9, "", path) == cap


@pytest.mark.parametrize(
    ("doc", "told"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, (3, 4)),
        ({"usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45}}, (14, 45)),
        (
            {"usage": {"billed_units": {"input_tokens": 3.0, "output_tokens": 4.0}, "tokens": {"input_tokens": 99}}},
            (3, 4),
        ),
        ({"usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}}}, (3, 4)),
        ({"meta": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}}, (3, 4)),
        (
            {"event_type": "stream-end", "response": {"meta": {"tokens": {"input_tokens": 3, "output_tokens": 4}}}},
            (3, 4),
        ),
        ({"type": "message-end", "delta": {"usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}}}}, (3, 4)),
        ({"done": True, "prompt_eval_count": 3, "eval_count": 4}, (3, 4)),
        (
            {"usage": {"inputTokens": 3, "outputTokens": 4, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 6}},
            (14, 4),
        ),
        ({"usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5}}, (8, 4)),
        ({"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}, (3, 1)),
        ({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 4}}, (3, 4)),
        ({"generation": "x", "prompt_token_count": 3, "generation_token_count": 4}, (3, 4)),
        ({"inputTextTokenCount": 3, "results": [{"tokenCount": 1}, {"tokenCount": 3}, 7]}, (3, 4)),
        (
            {
                "response": {
                    "usageMetadata": {
                        "promptTokenCount": 3,
                        "candidatesTokenCount": 1,
                        "thoughtsTokenCount": 3,
                        "cachedContentTokenCount": 2,
                    }
                }
            },
            (3, 4),
        ),
        ({"content": "x", "tokens_evaluated": 3, "tokens_predicted": 4}, (3, 4)),
        ({"usage": {"input_tokens": "3"}, "eval_count": -4}, (0, 0)),
        ({"usage": 7, "meta": [], "delta": "x", "message": None}, None),
        ([{"eval_count": 4}], None),
        (None, None),
    ],
)
def test_what_is_told(doc: Any, told: tuple[int, int] | None) -> None:
    """Prompt (with what came from a cache) and completion, by the name each API has for them."""
    found = usage(doc)
    assert (found and (found.prompt, found.completion)) == told


def test_what_is_told_in_parts() -> None:
    """The prompt at the beginning, the output as it grows."""
    begun = latest(Usage(prompt=9, cache_read=4, completion=1), None)
    assert latest(Usage(completion=30), latest(Usage(completion=20), begun)) == Usage(
        prompt=9, cache_read=4, completion=30
    )


def test_streams() -> None:
    """What is said in one place is one text, without an API's own words; what follows its usage makes it unsure."""
    reader = GENERIC.reader()
    for word in ("one ", "two"):
        said = {"type": "content-delta", "created_at": "2026-01-01T00:00:00Z", "delta": {"text": word}}
        reader.feed(Event(b""), said)
    reader.feed(
        Event(b""), {"type": "end", "finish_reason": "COMPLETE", "usage": {"inputTokens": 3, "outputTokens": 4}}
    )
    reader.finish()
    assert (reader.answer.text, reader.answer.complete, reader.answer.usage) == ("one two", True, Usage(3, 4))
    reader = GENERIC.reader()
    reader.feed(Event(b""), {"message": {"usage": {"input_tokens": 3, "output_tokens": 1}}})
    reader.feed(Event(b""), {"delta": {"text": "more"}})
    reader.finish()
    assert not reader.answer.complete
    assert GENERIC.read_answer({"model": "m", "id": "x", "text": "hi", "type": "a b"}).text == "hi\na b"


@pytest.mark.parametrize(
    "last",
    [
        {"event_type": "stream-end", "response": {"text": " cat" * 50, "meta": {}}},
        {"data": {"object": "thread.message", "content": [{"text": {"value": " cat" * 50}}]}},
        {"object": "thread.run", "instructions": " be kind" * 50, "metadata": {"a": "b" * 50}},
    ],
)
def test_what_is_said_again(last: Any) -> None:
    """All of it at the end, or what was asked: it counts once, so no limit ends a stream for it."""
    reader = GENERIC.reader()
    for _ in range(50):
        reader.feed(Event(b""), {"text": " cat"})
    reader.feed(Event(b""), last)
    reader.feed(Event(b""), {"text": " dog"})
    reader.finish()
    assert reader.answer.text.split() == ["cat"] * 50 + ["dog"]
    assert reader.parts.size < 220


def test_pictures_are_no_words() -> None:
    """Neither in an answer nor in a stream."""
    picture = "iVBORw0KGgo" * 100
    for shown in (picture, f"data:image/png;base64,{picture}"):
        assert GENERIC.read_answer({"images": [shown], "text": "done"}).text == "done"
    assert GENERIC.read_answer({"text": "7" * 1000}).text == "7" * 1000
    reader = GENERIC.reader()
    reader.feed(Event(b""), {"b64_json": picture, "text": "done"})
    reader.finish()
    assert reader.answer.text == "done"


@pytest.mark.parametrize("framing", [Framing.SSE, Framing.NDJSON, Framing.JSON_ARRAY, Framing.AWS])
def test_ends(framing: Framing) -> None:
    """A refusal within a stream is an event of that stream."""
    end = GENERIC.stream_error(Refusal(429, "quota_exceeded", "No more.", "limit", "01ID"), framing=framing)
    parser = framer(framing)
    before = parser.feed(b"[{}") if framing is Framing.JSON_ARRAY else []
    (found,) = [event for event in parser.feed(end) + parser.flush() if b"No more." in event.data]
    assert not any(event in before for event in (found,))
    assert found.name == {Framing.SSE: "error", Framing.AWS: "throttlingException"}.get(framing)
