"""Which things at the provider a call refers to, and which an answer makes."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.redaction.references import bare, made, merged, references
from redactions import exchange


@pytest.mark.parametrize(
    ("dialect", "path", "doc", "grows", "reads"),
    [
        ("openai_responses", "/v1/responses", {"input": "x", "previous_response_id": "resp_1"}, ["resp_1"], []),
        ("openai_responses", "/v1/responses", {"input": "x", "conversation": {"id": "conv_1"}}, ["conv_1"], []),
        ("openai_responses", "/v1/responses", {"input": [
            {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, [], ["file-1"]),
        ("gemini", "", {"cachedContent": "cachedContents/abc", "contents": []}, ["abc"], []),
        ("gemini", "", {"contents": [{"parts": [{"fileData": {"fileUri": "https://g.example/v1beta/files/f1"}}]}]},
         [], ["f1"]),
        ("generic", "/v1/conversations/conv_1/items", {"items": []}, ["conv_1"], []),
        ("generic", "/v1/threads/thread_1/messages?limit=1", {"role": "user"}, ["thread_1"], []),
        ("generic", "/v1/threads/runs", {"thread": {}}, [], []),
        ("generic", "/v1/messages/batches/msgbatch_1/results", {}, [], ["msgbatch_1"]),
        ("generic", "/v1/files/file-1/content", {}, [], ["file-1"]),
        ("generic", "/v1/uploads/upload_1/complete", {"part_ids": []}, ["upload_1"], []),
        ("generic", "/v1/batches", {"input_file_id": "file-1"}, [], ["file-1"]),
        ("generic", "/v1/vector_stores/vs_1/file_batches", {"file_ids": ["file-1", "file-2", 3]}, [],
         ["file-1", "file-2"]),
    ],
)  # fmt: skip
def test_references(dialect: str, path: str, doc: Any, grows: list[str], reads: list[str]) -> None:
    """By path, by history and by members."""
    found = references(exchange(dialect, doc, path))
    assert (found.grows, found.reads, found.is_upload) == (grows, reads, False)


def test_uploads() -> None:
    """What any later call may refer to beside others."""
    assert all(references(exchange("generic", {}, path)).is_upload for path in ("/v1/files", "/v1/uploads/u_1/parts"))


@pytest.mark.parametrize(
    ("doc", "ids"),
    [
        ({"id": "file-1", "object": "file"}, ["file-1"]),
        ({"name": "cachedContents/abc"}, ["abc"]),
        ({"id": "resp_1", "conversation": {"id": "conv_1"}}, ["resp_1", "conv_1"]),
        ({"id": "upload_1", "file": {"id": "file-1"}}, ["upload_1", "file-1"]),
        ({"id": "run_1", "thread_id": "thread_1"}, ["run_1", "thread_1"]),
        ({"id": "batch_1", "output_file_id": "file-2", "error_file_id": None}, ["batch_1", "file-2"]),
        ({"type": "response.created", "response": {"id": "resp_1"}}, ["resp_1"]),
        ({"file": {"name": "files/f1"}}, ["f1"]),
        ({"data": [{"id": "msg_1"}], "id": 7}, []),
        ([], []), (None, []), ("x", []),
    ],
)  # fmt: skip
def test_made(doc: Any, ids: list[str]) -> None:
    """An answer's own id, and those of what it made besides."""
    assert made(doc) == ids


def test_bare() -> None:
    """One thing has one id, however it is written."""
    assert {bare(name) for name in ("f1", "files/f1", "https://g.example/v1beta/files/f1/", "f1:download")} == {"f1"}


def test_merged() -> None:
    """A name that stands for two values, or for nobody knows which, stands for none."""
    entries: list[dict[str, str | None]] = [{"A_1": "a", "A_2": "b", "A_4": None}, {"A_1": "a", "A_2": "c", "A_3": "d"}]
    assert merged(entries) == ({"A_1": "a", "A_3": "d"}, {"A_2", "A_4"})
