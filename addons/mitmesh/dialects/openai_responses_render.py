"""Writing answers and streams of the Responses dialect, so that OpenAI's SDK takes them for its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mitmesh.dialects.base import Answer, Kind, Part, Usage
from mitmesh.dialects.openai_common import FILTERED, LENGTH, answer_id, new_id
from mitmesh.dialects.walk import count, encode, obj, sse, words

type Item = dict[str, Any]
type Fields = dict[str, Any]

_INPUTS = {
    "function_call": "arguments",
    "mcp_call": "arguments",
    "custom_tool_call": "input",
    "code_interpreter_call": "code",
}
"""Where items of tools have what the tool is called with."""
_PREFIXES = {Kind.TEXT: "msg_", Kind.REFUSAL: "msg_", Kind.REASONING: "rs_", Kind.TOOL_CALL: "fc_"}


def render(answer: Answer) -> bytes:
    """The answer as a response object."""
    return encode(_response(answer, answer_id(answer, "resp_"), int(time.time()), [_item(p) for p in _shown(answer)]))


def render_stream(answer: Answer) -> Iterator[bytes]:
    """The answer as server-sent events: each item opened, said word by word, closed; the whole response at the end."""
    response_id, created = answer_id(answer, "resp_"), int(time.time())
    started = _response(answer, response_id, created, None)
    parts = _shown(answer)
    done = [_item(part) for part in parts]
    number = 0

    def event(kind: str, fields: Fields) -> bytes:
        nonlocal number
        number += 1
        return sse({"type": kind, "sequence_number": number - 1, **fields}, kind)

    yield event("response.created", {"response": started})
    yield event("response.in_progress", {"response": started})
    for index, (part, item) in enumerate(zip(parts, done, strict=True)):
        place = {"output_index": index}
        yield event("response.output_item.added", {**place, "item": _begun(item)})
        for kind, fields in _said(part, {"item_id": item["id"], **place}):
            yield event(kind, fields)
        yield event("response.output_item.done", {**place, "item": item})
    final = _response(answer, response_id, created, done)
    yield event(f"response.{final['status']}", {"response": final})


def stop(answer: Answer, last: Any) -> bytes:
    """The end of a response that ran out of tokens, in the place of `last`, with what was said of its items."""
    stopped = replace(answer, finish="max_output_tokens")
    output = _begun_items(answer, count(obj(last).get("output_index")))
    response = _response(stopped, answer_id(answer, "resp_"), int(time.time()), output)
    number = count(obj(last).get("sequence_number"))
    kind = "response.incomplete"
    return sse({"type": kind, "sequence_number": number, "response": response}, kind)


def _said(part: Part, at: Fields) -> Iterator[tuple[str, Fields]]:
    """The events between an item's beginning and its end."""
    if part.kind is Kind.TOOL_CALL:
        for word in words(part.text or "{}"):
            yield "response.function_call_arguments.delta", {**at, "delta": word}
        whole = {"name": part.name or "", "arguments": part.text or "{}"}
        yield "response.function_call_arguments.done", {**at, **whole}
        return
    stem, key, outer, index = {
        Kind.TEXT: ("response.output_text", "text", "response.content_part", "content_index"),
        Kind.REFUSAL: ("response.refusal", "refusal", "response.content_part", "content_index"),
        Kind.REASONING: ("response.reasoning_summary_text", "text", "response.reasoning_summary_part", "summary_index"),
    }[part.kind]
    at = {**at, index: 0}
    extra: Fields = {"logprobs": []} if part.kind is Kind.TEXT else {}
    yield f"{outer}.added", {**at, "part": _content(part.kind, "")}
    for word in words(part.text):
        yield f"{stem}.delta", {**at, "delta": word, **extra}
    yield f"{stem}.done", {**at, key: part.text, **extra}
    yield f"{outer}.done", {**at, "part": _content(part.kind, part.text)}


def _shown(answer: Answer) -> list[Part]:
    return [part for part in answer.parts if part.kind in _PREFIXES]


def _content(kind: Kind, text: str) -> Item:
    if kind is Kind.REFUSAL:
        return {"type": "refusal", "refusal": text}
    if kind is Kind.REASONING:
        return {"type": "summary_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(part: Part) -> Item:
    """An output item, whole."""
    item: Item = {"id": new_id(_PREFIXES[part.kind]), "status": "completed"}
    if part.kind is Kind.TOOL_CALL:
        call = {"call_id": part.call_id or new_id("call_"), "name": part.name or "", "arguments": part.text or "{}"}
        return {**item, "type": "function_call", **call}
    if part.kind is Kind.REASONING:
        return {**item, "type": "reasoning", "summary": [_content(part.kind, part.text)]}
    return {**item, "type": "message", "role": "assistant", "content": [_content(part.kind, part.text)]}


def _begun_items(answer: Answer, last: int) -> list[Item]:
    """The output items of which anything was said, by the names they began with; `last` is not whole."""
    found: dict[int, list[Part]] = {}
    for part in _shown(answer):
        found.setdefault(id(part.item or part), []).append(part)
    return [_so_far(parts, last) for parts in found.values()]


def _so_far(parts: list[Part], last: int) -> Item:
    """An item with these parts."""
    first, item = parts[0], parts[0].item
    if item is None:  # nobody told that it began
        return {**_item(first), "status": "incomplete"}
    whole = item.whole and item.index != last
    made: Item = {**item.names, "status": "completed" if whole else "incomplete"}
    if first.kind is not Kind.TOOL_CALL:
        said = [_content(part.kind, part.text) for part in parts]
        return {**made, "summary" if first.kind is Kind.REASONING else "content": said}
    field = _INPUTS.get(item.names.get("type", ""))
    text = "" if first.text == "{}" and not whole else first.text  # Parts' word for a call without arguments
    return {**made, field: text} if field else made


def _begun(item: Item) -> Item:
    """The same item before anything was said."""
    empty: Item = {"arguments": "", "content": [], "summary": []}
    return {**item, "status": "in_progress", **{key: value for key, value in empty.items() if key in item}}


def _response(answer: Answer, response_id: str, created: int, output: list[Item] | None) -> Item:
    """The response object; `output` None for one that only begins."""
    word = (answer.finish or "").lower()
    reason = "max_output_tokens" if word in LENGTH else "content_filter" if word in FILTERED else None
    status = "in_progress" if output is None else "incomplete" if reason else "completed"
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "model": answer.model or "unknown",
        "output": output or [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": _usage(answer.usage) if output is not None and answer.usage else None,
    }


def _usage(used: Usage) -> Fields:
    return {
        "input_tokens": used.prompt,
        "input_tokens_details": {"cached_tokens": used.cache_read, "cache_write_tokens": used.cache_write_5m},
        "output_tokens": used.completion,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": used.total,
    }
