"""Where a value can stand in each dialect, in requests and in answers: the cells of the table in docs/redaction.md.

A request's cell is a body with VALUE in that position (or a Sent, where it is no body of JSON); an answer's the
document, or the events of a stream, with PLACEHOLDER there. A string in their place says why the API has no such cell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

VALUE, NUMBER = 'Ann "Al" Oneil', 4111111111111111
PLACEHOLDER, NUMBER_PLACEHOLDER = "<PERSON_1>", "<CARD_1>"
HALVES = ("say <PER", "SON_1> end")
KNOWN = f"my name is {VALUE}"
"""What makes the finder find it; elsewhere it is known by its value alone."""

type Cell = Any


@dataclass(frozen=True)
class Sent:
    """A request whose value is not in a body of JSON alone: what follows the API's path (`?x=y`), or another path
    altogether (`/v1/x`); a body as it is sent, with its Content-Type."""

    body: Any
    path: str = ""
    kind: str = "application/json"


POSITIONS = (
    "system", "user", "assistant history", "tool definition", "tool-call arguments", "tool result", "document",
    "file name", "metadata", "generic JSON", "JSON within JSON", "number", "name of a member", "model name",
    "query value", "path segment",
)  # fmt: skip
NO_TOOLS = "no tools in this API"
NO_ROLES = "no roles in this API"
ONE = "every string is generic JSON"
VECTORS = "an answer has no text"
FIXED = "fixed by the API"
NOT_SAID = "not in an answer"
MEDIA = "documents are media there: carried, not read"


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [_user(KNOWN), *messages], **fields}


def _function(**fields: Any) -> dict[str, Any]:
    return {"name": "f", "parameters": {"type": "object", "properties": {}}, **fields}


def _called(arguments: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps(arguments)}}


def _everywhere(doc: dict[str, Any]) -> dict[str, Cell]:
    """The cells that all APIs with a model in the body have."""
    return {
        "model name": {**doc, "model": VALUE},
        "query value": Sent(doc, f"?user={quote_plus(VALUE)}&x=1"),
        "path segment": FIXED,
    }


_ARGUMENTS = json.dumps({"to": VALUE})
_CALL = _called({"to": VALUE})

CHAT = {
    "system": {"model": "m", "messages": [{"role": "system", "content": VALUE}, _user(KNOWN)]},
    "user": _chat(_user([{"type": "text", "text": VALUE}])),
    "assistant history": _chat({"role": "assistant", "content": VALUE}),
    "tool definition": _chat(tools=[{"type": "function", "function": _function(description=VALUE)}]),
    "tool-call arguments": _chat({"role": "assistant", "content": None, "tool_calls": [_CALL]}),
    "tool result": _chat({"role": "tool", "tool_call_id": "c1", "content": VALUE}),
    "document": _chat(prediction={"type": "content", "content": VALUE}),
    "file name": _chat(_user([{"type": "file", "file": {"file_data": "data:x/y;base64,AAAA", "filename": VALUE}}])),
    "metadata": _chat(user=VALUE, metadata={"owner": VALUE}),
    "generic JSON": _chat(unknown={"deep": [{"x": VALUE}]}),
}
CHAT |= {
    "JSON within JSON": _chat({"role": "assistant", "content": None, "tool_calls": [_called({"body": _ARGUMENTS})]}),
    "number": _chat({"role": "assistant", "content": None, "tool_calls": [_called({"n": NUMBER})]}),
    "name of a member": _chat({"role": "assistant", "content": None, "tool_calls": [_called({VALUE: 1})]}),
    **_everywhere(_chat()),
}


def _input(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": [_user(KNOWN), *items], **fields}


def _function_call(arguments: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps(arguments)}


_SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": VALUE}]}
_FILE = {"type": "input_file", "filename": VALUE, "file_data": "data:x/y;base64,AAAA"}

RESPONSES = {
    "system": _input(instructions=VALUE),
    "user": _input(_user([{"type": "input_text", "text": VALUE}])),
    "assistant history": _input(_SAID),
    "tool definition": _input(tools=[{"type": "function", **_function(description=VALUE)}]),
    "tool-call arguments": _input(_function_call({"to": VALUE})),
    "tool result": _input({"type": "function_call_output", "call_id": "c", "output": VALUE}),
    "document": _input({"type": "file_search_call", "id": "f", "results": [{"text": VALUE}]}),
    "file name": _input(_user([_FILE])),
    "metadata": _input(user=VALUE, metadata={"owner": VALUE}),
    "generic JSON": _input(unknown={"deep": [{"x": VALUE}]}),
}
RESPONSES |= {
    "JSON within JSON": _input(_function_call({"body": _ARGUMENTS})),
    "number": _input(_function_call({"n": NUMBER})),
    "name of a member": _input(_function_call({VALUE: 1})),
    **_everywhere(_input()),
}


def _messages(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [_user(KNOWN), *messages], **fields}


def _source(**fields: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, **fields}


def _used(given: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": given}]}


ANTHROPIC = {
    "system": _messages(system=[{"type": "text", "text": VALUE}]),
    "user": _messages(_user([{"type": "text", "text": VALUE}])),
    "assistant history": _messages({"role": "assistant", "content": VALUE}),
    "tool definition": _messages(tools=[{"name": "f", "description": VALUE, "input_schema": {"type": "object"}}]),
    "tool-call arguments": _messages(_used({"to": VALUE})),
    "tool result": _messages(_user([{"type": "tool_result", "tool_use_id": "t", "content": VALUE}])),
    "document": _messages(_user([_source(source={"type": "text", "media_type": "text/plain", "data": VALUE})])),
    "file name": _messages(_user([_source(title=VALUE)])),
    "metadata": _messages(metadata={"user_id": VALUE}),
    "generic JSON": _messages(unknown={"deep": [{"x": VALUE}]}),
}
ANTHROPIC |= {
    "JSON within JSON": _messages(_used({"body": _ARGUMENTS})),
    "number": _messages(_used({"n": NUMBER})),
    "name of a member": _messages(_used({VALUE: 1})),
    **_everywhere(_messages()),
}


def _contents(*contents: Any, **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": KNOWN}]}, *contents], **fields}


def _model(part: Any, role: str = "model") -> dict[str, Any]:
    return {"role": role, "parts": [part]}


def _ran(args: Any) -> dict[str, Any]:
    return _model({"functionCall": {"name": "f", "args": args}})


_NAMED_MODEL = Sent(_contents(), f"/v1beta/models/{quote(VALUE)}:generateContent")

GEMINI = {
    "system": _contents(systemInstruction={"parts": [{"text": VALUE}]}),
    "user": _contents(_model({"text": VALUE}, "user")),
    "assistant history": _contents(_model({"text": VALUE})),
    "tool definition": _contents(tools=[{"functionDeclarations": [{"name": "f", "description": VALUE}]}]),
    "tool-call arguments": _contents(_ran({"to": VALUE})),
    "tool result": _contents(_model({"functionResponse": {"name": "f", "response": {"x": VALUE}}}, "user")),
    "document": MEDIA,
    "file name": _contents(_model({"inlineData": {"mimeType": "a/b", "data": "AAAA", "displayName": VALUE}}, "user")),
    "metadata": _contents(labels={"owner": VALUE}),
    "generic JSON": _contents(unknown={"deep": [{"x": VALUE}]}),
}
GEMINI |= {
    "JSON within JSON": _contents(_ran({"body": _ARGUMENTS})),
    "number": _contents(_ran({"n": NUMBER})),
    "name of a member": _contents(_ran({VALUE: 1})),
    **_everywhere(_contents()),
    "model name": _NAMED_MODEL,
    "path segment": _NAMED_MODEL,
}
_EMBEDDED = {"model": "m", "input": KNOWN}
EMBEDDINGS = {
    "system": NO_ROLES,
    "user": {"model": "m", "input": [KNOWN, VALUE]},
    "assistant history": NO_ROLES,
    "tool definition": NO_TOOLS,
    "tool-call arguments": NO_TOOLS,
    "tool result": NO_TOOLS,
    "document": "documents are the input",
    "file name": "no files in this API",
    "metadata": {**_EMBEDDED, "user": VALUE},
    "generic JSON": {**_EMBEDDED, "unknown": {"deep": [{"x": VALUE}]}},
    "JSON within JSON": {**_EMBEDDED, "unknown": _ARGUMENTS},
    "number": {**_EMBEDDED, "unknown": {"n": NUMBER}},
    "name of a member": {**_EMBEDDED, "unknown": {VALUE: 1}},
    **_everywhere(_EMBEDDED),
}
_GENERIC = {"known": KNOWN}
_UPLOAD = (
    '--b0\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n\r\n{}\r\n'
    f'--b0\r\nContent-Disposition: form-data; name="known"\r\n\r\n{KNOWN}\r\n--b0--\r\n'
)
_BOUNDARY = "multipart/form-data; boundary=b0"
_FORM = "application/x-www-form-urlencoded"
BODIES = {
    "form: value": Sent(f"known={quote_plus(KNOWN)}&x={quote_plus(VALUE)}", kind=_FORM),
    "form: name": Sent(f"known={quote_plus(KNOWN)}&{quote_plus(VALUE)}=1", kind=_FORM),
    "upload: text": Sent(_UPLOAD.format("f", "a.txt", f"a {VALUE}\r\nb"), kind=_BOUNDARY),
    "upload: name": Sent(_UPLOAD.format(VALUE, "a.txt", "x"), kind=_BOUNDARY),
    "upload: file name": Sent(_UPLOAD.format("f", VALUE, "x"), kind=_BOUNDARY),
    "JSON lines": Sent(
        "".join(f"{json.dumps(line)}\n" for line in ({"known": KNOWN}, {"x": [VALUE]})), kind="application/jsonl"
    ),
    "plain text": Sent(f"{KNOWN}\n\tand again: {VALUE}.\n", kind="text/plain"),
}
"""Bodies that are no JSON, which no other dialect has."""
GENERIC = {
    **dict.fromkeys(POSITIONS, ONE),
    "generic JSON": {**_GENERIC, "deep": [{"x": VALUE, "number": 1}]},
    "JSON within JSON": {**_GENERIC, "x": json.dumps({"body": _ARGUMENTS})},
    "number": {**_GENERIC, "x": {"n": NUMBER}},
    "name of a member": {**_GENERIC, "x": {VALUE: 1}},
    **_everywhere(_GENERIC),
    "path segment": Sent(_GENERIC, f"/v1/users/{quote(VALUE)}/x"),
    **BODIES,
}

REQUESTS = {
    "openai_chat": CHAT, "openai_responses": RESPONSES, "anthropic": ANTHROPIC, "gemini": GEMINI,
    "openai_embeddings": EMBEDDINGS, "generic": GENERIC,
}  # fmt: skip


# --- answers ---


def _choice(**message: Any) -> dict[str, Any]:
    return {"id": "a", "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def _chunk(**delta: Any) -> dict[str, Any]:
    return {"id": "a", "choices": [{"index": 0, "delta": delta}]}


_GIVEN: dict[str, Any] = {
    "tool-call arguments": {"to": f"say {PLACEHOLDER} end"},
    "JSON within JSON": {"body": json.dumps({"to": PLACEHOLDER})},
    "number": {"n": NUMBER_PLACEHOLDER},
    "name of a member": {PLACEHOLDER: 1},
}
"""What tools are called with, by position. (A number that left as a placeholder comes back as a string.)"""


def _pieces(given: Any) -> tuple[str, str]:
    """The JSON of it, as some models escape it, cut within the placeholder."""
    text = json.dumps(given).replace("<", "\\u003c").replace(">", "\\u003e")
    cut = text.index("_1")
    return text[:cut], text[cut:]


_CITED = [{"type": "url_citation", "url_citation": {"title": PLACEHOLDER, "url": "https://x.example"}}]

CHAT_JSON = {
    "assistant history": _choice(content=PLACEHOLDER),
    "document": _choice(content="x", annotations=_CITED),
    **{
        position: _choice(
            content=None, tool_calls=[{"id": "c", "function": {"name": "f", "arguments": json.dumps(given)}}]
        )
        for position, given in _GIVEN.items()
    },
}
CHAT_STREAM = {
    "assistant history": [_chunk(content=half) for half in HALVES],
    "document": [_chunk(annotations=_CITED)],
    **{
        position: [_chunk(tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in _pieces(given)]
        for position, given in _GIVEN.items()
    },
}


def _response(*output: Any, **echo: Any) -> dict[str, Any]:
    return {"id": "r", "object": "response", "status": "completed", "output": list(output), **echo}


def _text(text: str, *annotations: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": list(annotations)}
    return {"type": "message", "id": "m", "role": "assistant", "content": [part]}


_TOOL = {"type": "function", "name": "f", "description": PLACEHOLDER, "parameters": {}}
_RAN = {"type": "code_interpreter_call", "id": "c", "code": "1", "outputs": [{"type": "logs", "logs": PLACEHOLDER}]}
_SEARCHED = {"type": "file_search_call", "id": "f", "results": [{"text": PLACEHOLDER}]}
_CITES = {"type": "file_citation", "file_id": "f", "filename": PLACEHOLDER, "index": 0}

RESPONSES_JSON = {
    "system": _response(instructions=PLACEHOLDER),
    "assistant history": _response(_text(PLACEHOLDER)),
    "tool definition": _response(tools=[_TOOL]),
    **{position: _response(_function_call(given)) for position, given in _GIVEN.items()},
    "tool result": _response(_RAN),
    "document": _response(_SEARCHED),
    "file name": _response(_text("x", _CITES)),
    "metadata": _response(user=PLACEHOLDER, metadata={"owner": PLACEHOLDER}),
}


def _done(response: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "response.created", "response": response}, {"type": "response.completed", "response": response}]


def _delta(stem: str, pieces: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"type": f"{stem}.delta", "item_id": "m", "output_index": 0, "delta": piece} for piece in pieces]


def _item(item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": 0, "item": item}


RESPONSES_STREAM = {
    "system": _done(_response(instructions=PLACEHOLDER)),
    "assistant history": [
        *_delta("response.output_text", HALVES),
        {"type": "response.output_text.done", "item_id": "m", "output_index": 0, "text": f"say {PLACEHOLDER} end"},
        _item(_text(PLACEHOLDER)),
        *_done(_response(_text(PLACEHOLDER))),
    ],
    "tool definition": _done(_response(tools=[_TOOL])),
    **{
        position: [*_delta("response.function_call_arguments", _pieces(given)), _item(_function_call(given))]
        for position, given in _GIVEN.items()
    },
    "tool result": [_item(_RAN)],
    "document": [_item(_SEARCHED)],
    "file name": [{"type": "response.output_text.annotation.added", "item_id": "m", "annotation": _CITES}],
    "metadata": _done(_response(user=PLACEHOLDER, metadata={"owner": PLACEHOLDER})),
}


def _message(*blocks: Any) -> dict[str, Any]:
    return {"id": "m", "type": "message", "role": "assistant", "content": list(blocks), "stop_reason": "end_turn"}


def _block(*deltas: Any, start: Any = None) -> list[dict[str, Any]]:
    begin = {"type": "content_block_start", "index": 0, "content_block": start or {"type": "text", "text": ""}}
    middle = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    return [begin, *middle, {"type": "content_block_stop", "index": 0}]


_STDOUT = {"type": "bash_code_execution_result", "stdout": PLACEHOLDER, "stderr": "", "return_code": 0}
_EXECUTED = {"type": "bash_code_execution_tool_result", "tool_use_id": "t", "content": _STDOUT}
_CITATION = {"type": "char_location", "cited_text": PLACEHOLDER, "document_index": 0, "document_title": "x"}
_TITLED = {**_CITATION, "cited_text": "x", "document_title": PLACEHOLDER}

ANTHROPIC_JSON = {
    "assistant history": _message({"type": "text", "text": PLACEHOLDER}),
    **{
        position: _message({"type": "tool_use", "id": "t", "name": "f", "input": given})
        for position, given in _GIVEN.items()
    },
    "tool result": _message(_EXECUTED),
    "document": _message({"type": "text", "text": "x", "citations": [_CITATION]}),
    "file name": _message({"type": "text", "text": "x", "citations": [_TITLED]}),
}
ANTHROPIC_STREAM = {
    "assistant history": _block(*({"type": "text_delta", "text": half} for half in HALVES)),
    **{
        position: _block(
            *({"type": "input_json_delta", "partial_json": piece} for piece in _pieces(given)),
            start={"type": "tool_use", "id": "t", "name": "f", "input": {}},
        )
        for position, given in _GIVEN.items()
    },
    "tool result": _block(start=_EXECUTED),
    "document": _block({"type": "citations_delta", "citation": _CITATION}),
    "file name": _block({"type": "citations_delta", "citation": _TITLED}),
}


def _candidate(part: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}, **fields}]}


_GROUNDED = {"groundingChunks": [{"retrievedContext": {"text": PLACEHOLDER, "title": "x"}}]}
_NAMED = {"groundingChunks": [{"retrievedContext": {"text": "x", "title": PLACEHOLDER}}]}
_RESULT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": PLACEHOLDER}}

GEMINI_JSON = {
    "assistant history": _candidate({"text": PLACEHOLDER}),
    **{position: _candidate({"functionCall": {"name": "f", "args": given}}) for position, given in _GIVEN.items()},
    "tool result": _candidate(_RESULT),
    "document": _candidate({"text": "x"}, groundingMetadata=_GROUNDED),
    "file name": _candidate({"text": "x"}, groundingMetadata=_NAMED),
}
GEMINI_STREAM = {
    **{name: [doc] for name, doc in GEMINI_JSON.items()},
    "assistant history": [_candidate({"text": HALVES[0]}), _candidate({"text": HALVES[1]}, finishReason="STOP")],
}
_EVERY: dict[str, Any] = {
    "generic JSON": {"deep": [{"x": PLACEHOLDER}]},
    "JSON within JSON": {"x": json.dumps({"body": PLACEHOLDER})},
    "number": {"n": NUMBER_PLACEHOLDER},
    "name of a member": {PLACEHOLDER: 1},
    **{name: {"text": PLACEHOLDER} for name in BODIES},
}

for _docs, _events, _answer, _event in (
    (CHAT_JSON, CHAT_STREAM, _choice(content="x"), _chunk(content="x")),
    (RESPONSES_JSON, RESPONSES_STREAM, _response(_text("x")), {"type": "response.brand_new"}),
    (ANTHROPIC_JSON, ANTHROPIC_STREAM, {"type": "message", "content": []}, {"type": "brand_new"}),
    (GEMINI_JSON, GEMINI_STREAM, {"candidates": []}, {"candidates": []}),
):  # a field that nobody knows
    _docs["generic JSON"] = {**_answer, "zzz": {"a": [PLACEHOLDER]}}
    _events["generic JSON"] = [{**_event, "zzz": {"a": [PLACEHOLDER]}}]

ANSWERS: dict[str, tuple[dict[str, Cell], dict[str, Cell], str]] = {
    "openai_chat": (CHAT_JSON, CHAT_STREAM, NOT_SAID),
    "openai_responses": (RESPONSES_JSON, RESPONSES_STREAM, NOT_SAID),
    "anthropic": (ANTHROPIC_JSON, ANTHROPIC_STREAM, NOT_SAID),
    "gemini": (GEMINI_JSON, GEMINI_STREAM, NOT_SAID),
    "openai_embeddings": ({}, {}, VECTORS),
    "generic": (_EVERY, {name: [doc] for name, doc in _EVERY.items()}, ONE),
}
"""By dialect: JSON answers, streams, and why the others are not there."""
