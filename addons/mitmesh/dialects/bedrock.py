"""What Bedrock's own API (InvokeModel, Converse) has apart from the documents of its models: paths, errors.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html, "Errors".
"""

from __future__ import annotations

import re

from mitmesh.dialects.base import Refusal
from mitmesh.dialects.walk import encode
from mitmesh.wire.awsmessage import exception
from mitmesh.wire.path import normalise

_PATH = re.compile(r"/model/.+/(invoke|converse)(-with-response-stream|-stream)?$")
_TYPES = {
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_IN_STREAMS = {402: "throttlingException", 429: "throttlingException", 503: "serviceUnavailableException"}


def is_bedrock(path: str) -> bool:
    """Is it a path (with its query) of Bedrock's own API?"""
    return "/model/" in path.lower() and _PATH.search(normalise(path) or "") is not None


def streams(path: str) -> bool:
    """Is the answer at this path an event stream?"""
    return is_bedrock(path) and (normalise(path) or "").endswith("stream")


def error_type(status: int) -> str:
    """AWS's name for an error of that status."""
    return _TYPES.get(status, "ValidationException" if status < 500 else "ModelErrorException")


def refusal(refusal: Refusal) -> bytes:
    """A refusal as AWS's SDKs read it: `message` at the top; its type is in the header `x-amzn-errortype`."""
    return encode({"message": refusal.message, "type": refusal.type, "code": refusal.code, "mesh_id": refusal.exchange})


def stream_error(refusal: Refusal) -> bytes:
    """A refusal as the message that ends an event stream, which AWS's SDKs raise."""
    kind = _IN_STREAMS.get(refusal.status, "modelStreamErrorException")
    return exception(kind, refusal.message)
