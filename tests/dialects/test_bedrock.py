"""Bedrock's own paths and errors."""

from __future__ import annotations

import json

import pytest

from mitmesh.dialects import bedrock
from mitmesh.dialects.base import Event, Framing, Refusal
from mitmesh.dialects.generic import Generic
from mitmesh.wire.frames import framer


@pytest.mark.parametrize(
    ("path", "is_bedrock", "streams"),
    [
        ("/model/m/invoke", True, False),
        ("/model/m%3A0/Converse?x=1", True, False),
        ("/model/m/converse-stream/", True, True),
        ("/model/arn%3Aaws%3Abedrock%2Fm/invoke-with-response-stream", True, True),
        ("/v1/models/m/invoke", False, False),
        ("/model/m/count-tokens", False, False),
        ("/x?y=/model/m/invoke", False, False),
    ],
)
def test_paths(path: str, is_bedrock: bool, streams: bool) -> None:
    """What is its own, and what is answered as an event stream."""
    assert (bedrock.is_bedrock(path), bedrock.streams(path)) == (is_bedrock, streams)


@pytest.mark.parametrize(
    ("status", "kind", "in_stream"),
    [
        (402, "ServiceQuotaExceededException", "throttlingException"),
        (403, "AccessDeniedException", "modelStreamErrorException"),
        (429, "ThrottlingException", "throttlingException"),
        (400, "ValidationException", "modelStreamErrorException"),
        (503, "ServiceUnavailableException", "serviceUnavailableException"),
        (502, "ModelErrorException", "modelStreamErrorException"),
    ],
)
def test_errors(status: int, kind: str, in_stream: str) -> None:
    """AWS's name for it, before a stream and within."""
    refusal = Refusal(status, "quota_exceeded", "No more.", "limit", "01ID")
    assert bedrock.error_type(status) == kind
    said = {"message": "No more.", "type": "quota_exceeded", "code": "limit", "mesh_id": "01ID"}
    assert json.loads(bedrock.refusal(refusal)) == said
    (event,) = framer(Framing.AWS).feed(bedrock.stream_error(refusal))
    assert (event.name, event.data) == (in_stream, b'{"message": "No more."}')


def test_a_providers_own() -> None:
    """An exception in a stream is its error, by its name."""
    reader = Generic().reader()
    reader.feed(Event(b"", b"{}", "throttlingException"), {"message": "private"})
    reader.finish()
    assert (reader.answer.error, reader.answer.complete) == ("throttlingException", False)
