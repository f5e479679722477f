"""Where a value can stand in each dialect, in requests and in answers: the cells of the table in docs/redaction.md.

A request's cell is a body with VALUE in that position; an answer's the document, or the events of a stream, with
PLACEHOLDER there. A string in their place says why the API has no such cell.
"""

from __future__ import annotations

import json
from typing import Any

VALUE = 'Ann "Al" Oneil'
PLACEHOLDER = "<PERSON_1>"
HALVES = ("say <PER", "SON_1> end")
KNOWN = f"my name is {VALUE}"
"""What makes the finder find it; elsewhere it is known by its value alone."""

type Cell = Any

POSITIONS = (
    "system", "user", "assistant history", "tool definition", "tool-call arguments", "tool result", "document",
    "file name", "metadata", "generic JSON",
)  # fmt: skip
NO_TOOLS = "no tools in this API"
NO_ROLES = "no roles in this API"
ONE = "every string is generic JSON"
VECTORS = "an answer has no text"
NOT_SAID = "not in an answer"
MEDIA = "documents are media there: carried, not read"


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [_user(KNOWN), *messages], **fields}


def _function(**fields: Any) -> dict[str, Any]:
    return {"name": "f", "parameters": {"type": "object", "properties": {}}, **fields}


_ARGUMENTS = json.dumps({"to": VALUE})
_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": _ARGUMENTS}}

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


def _input(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": [_user(KNOWN), *items], **fields}


_SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": VALUE}]}
_FILE = {"type": "input_file", "filename": VALUE, "file_data": "data:x/y;base64,AAAA"}

RESPONSES = {
    "system": _input(instructions=VALUE),
    "user": _input(_user([{"type": "input_text", "text": VALUE}])),
    "assistant history": _input(_SAID),
    "tool definition": _input(tools=[{"type": "function", **_function(description=VALUE)}]),
    "tool-call arguments": _input({"type": "function_call", "call_id": "c", "name": "f", "arguments": _ARGUMENTS}),
    "tool result": _input({"type": "function_call_output", "call_id": "c", "output": VALUE}),
    "document": _input({"type": "file_search_call", "id": "f", "results": [{"text": VALUE}]}),
    "file name": _input(_user([_FILE])),
    "metadata": _input(user=VALUE, metadata={"owner": VALUE}),
    "generic JSON": _input(unknown={"deep": [{"x": VALUE}]}),
}


def _messages(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [_user(KNOWN), *messages], **fields}


def _source(**fields: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, **fields}


ANTHROPIC = {
    "system": _messages(system=[{"type": "text", "text": VALUE}]),
    "user": _messages(_user([{"type": "text", "text": VALUE}])),
    "assistant history": _messages({"role": "assistant", "content": VALUE}),
    "tool definition": _messages(tools=[{"name": "f", "description": VALUE, "input_schema": {"type": "object"}}]),
    "tool-call arguments": _messages(
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"to": VALUE}}]}
    ),
    "tool result": _messages(_user([{"type": "tool_result", "tool_use_id": "t", "content": VALUE}])),
    "document": _messages(_user([_source(source={"type": "text", "media_type": "text/plain", "data": VALUE})])),
    "file name": _messages(_user([_source(title=VALUE)])),
    "metadata": _messages(metadata={"user_id": VALUE}),
    "generic JSON": _messages(unknown={"deep": [{"x": VALUE}]}),
}


def _contents(*contents: Any, **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": KNOWN}]}, *contents], **fields}


def _model(part: Any, role: str = "model") -> dict[str, Any]:
    return {"role": role, "parts": [part]}


GEMINI = {
    "system": _contents(systemInstruction={"parts": [{"text": VALUE}]}),
    "user": _contents(_model({"text": VALUE}, "user")),
    "assistant history": _contents(_model({"text": VALUE})),
    "tool definition": _contents(tools=[{"functionDeclarations": [{"name": "f", "description": VALUE}]}]),
    "tool-call arguments": _contents(_model({"functionCall": {"name": "f", "args": {"to": VALUE}}})),
    "tool result": _contents(_model({"functionResponse": {"name": "f", "response": {"x": VALUE}}}, "user")),
    "document": MEDIA,
    "file name": _contents(_model({"inlineData": {"mimeType": "a/b", "data": "AAAA", "displayName": VALUE}}, "user")),
    "metadata": _contents(labels={"owner": VALUE}),
    "generic JSON": _contents(unknown={"deep": [{"x": VALUE}]}),
}
EMBEDDINGS = {
    "system": NO_ROLES,
    "user": {"model": "m", "input": [KNOWN, VALUE]},
    "assistant history": NO_ROLES,
    "tool definition": NO_TOOLS,
    "tool-call arguments": NO_TOOLS,
    "tool result": NO_TOOLS,
    "document": "documents are the input",
    "file name": "no files in this API",
    "metadata": {"model": "m", "input": KNOWN, "user": VALUE},
    "generic JSON": {"model": "m", "input": KNOWN, "unknown": {"deep": [{"x": VALUE}]}},
}
GENERIC = {
    **dict.fromkeys(POSITIONS, ONE),
    "generic JSON": {"known": KNOWN, "deep": [{"x": VALUE, "number": 1}]},
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


_PLACED = {"to": PLACEHOLDER}
_PIECES = ('{"to": "say \\u003cPERS', 'ON_1\\u003e end"}')
_CITED = [{"type": "url_citation", "url_citation": {"title": PLACEHOLDER, "url": "https://x.example"}}]

CHAT_JSON = {
    "assistant history": _choice(content=PLACEHOLDER),
    "tool-call arguments": _choice(
        content=None, tool_calls=[{"id": "c", "function": {"name": "f", "arguments": json.dumps(_PLACED)}}]
    ),
    "document": _choice(content="x", annotations=_CITED),
}
CHAT_STREAM = {
    "assistant history": [_chunk(content=half) for half in HALVES],
    "tool-call arguments": [_chunk(tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in _PIECES],
    "document": [_chunk(annotations=_CITED)],
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
_FUNCTION = {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps(_PLACED)}

RESPONSES_JSON = {
    "system": _response(instructions=PLACEHOLDER),
    "assistant history": _response(_text(PLACEHOLDER)),
    "tool definition": _response(tools=[_TOOL]),
    "tool-call arguments": _response(_FUNCTION),
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
    "tool-call arguments": [*_delta("response.function_call_arguments", _PIECES), _item(_FUNCTION)],
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
    "tool-call arguments": _message({"type": "tool_use", "id": "t", "name": "f", "input": _PLACED}),
    "tool result": _message(_EXECUTED),
    "document": _message({"type": "text", "text": "x", "citations": [_CITATION]}),
    "file name": _message({"type": "text", "text": "x", "citations": [_TITLED]}),
}
ANTHROPIC_STREAM = {
    "assistant history": _block(*({"type": "text_delta", "text": half} for half in HALVES)),
    "tool-call arguments": _block(
        *({"type": "input_json_delta", "partial_json": piece} for piece in _PIECES),
        start={"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ),
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
    "tool-call arguments": _candidate({"functionCall": {"name": "f", "args": _PLACED}}),
    "tool result": _candidate(_RESULT),
    "document": _candidate({"text": "x"}, groundingMetadata=_GROUNDED),
    "file name": _candidate({"text": "x"}, groundingMetadata=_NAMED),
}
GEMINI_STREAM = {
    **{name: [doc] for name, doc in GEMINI_JSON.items()},
    "assistant history": [_candidate({"text": HALVES[0]}), _candidate({"text": HALVES[1]}, finishReason="STOP")],
}
_EVERY = {"deep": [{"x": PLACEHOLDER}]}

ANSWERS: dict[str, tuple[dict[str, Cell], dict[str, Cell], str]] = {
    "openai_chat": (CHAT_JSON, CHAT_STREAM, NOT_SAID),
    "openai_responses": (RESPONSES_JSON, RESPONSES_STREAM, NOT_SAID),
    "anthropic": (ANTHROPIC_JSON, ANTHROPIC_STREAM, NOT_SAID),
    "gemini": (GEMINI_JSON, GEMINI_STREAM, NOT_SAID),
    "openai_embeddings": ({}, {}, VECTORS),
    "generic": ({"generic JSON": _EVERY}, {"generic JSON": [_EVERY]}, ONE),
}
"""By dialect: JSON answers, streams, and why the others are not there."""
