"""What OpenAI's dialects share."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.dialects.base import Operation, Usage
from mitmesh.dialects.openai_common import bare_call, claim, error_word, model_of, read_usage


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, Usage(9, 3)),
        ({"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}, Usage(9, 3)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(9, cache_read=4)),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}}, Usage(9, cache_read=4)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}, Usage(9, cache_read=4)),
        ({"prompt_tokens": 9, "num_cached_tokens": 4}, Usage(9, cache_read=4)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 4}}, Usage(9, cache_write_5m=4)),
        (
            {"prompt_tokens": 9, "completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 5}},
            Usage(9, 8, reasoning=5),
        ),
        (  # xAI: reasoning is in the total and not in completion_tokens
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "total_tokens": 22,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(9, 13, reasoning=5),
        ),
        ({"prompt_tokens": -1, "completion_tokens": "many", "prompt_tokens_details": []}, Usage()),
        ({"total_tokens": 3}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage(value: Any, usage: Usage | None) -> None:
    """Each provider's spelling of usage gives the same numbers; what is none is no usage."""
    assert read_usage(value) == usage


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ({"type": "invalid_request_error", "code": "c", "message": "SECRET"}, "invalid_request_error"),
        ({"type": None, "code": "content_filter"}, "content_filter"),
        ({"code": 402, "message": "SECRET"}, "402"),
        ({"message": "SECRET"}, "error"),
        ({"type": "a SECRET sentence"}, "error"),
        ("SECRET", "error"),
    ],
)
def test_error_word(error: Any, word: str) -> None:
    """An error is known by its type or code, never by its message."""
    assert error_word(error) == word


@pytest.mark.parametrize(
    ("doc", "headers", "session"),
    [
        ({}, {"session_id": "s"}, "s"),
        ({}, {"session-id": "s"}, "s"),
        ({"prompt_cache_key": "k"}, {}, "k"),
        ({"prompt_cache_key": "k"}, {"session_id": "s"}, "s"),
        ({"session_id": "b", "prompt_cache_key": "k"}, {}, "b"),
        ({"prompt_cache_key": 7}, {}, None),
        ({"prompt_cache_key": "k" * 1000}, {}, "k" * 256),
    ],
)
def test_session(doc: Any, headers: dict[str, str], session: str | None) -> None:
    """A session is what the client says in a header, else in its body, and of bounded length."""
    assert claim(bare_call("/", {}), doc, headers).session == session


@pytest.mark.parametrize(
    ("path", "operation", "stream", "history"),
    [
        ("/v1/models", Operation.MODELS, False, None),
        ("/openai/v1/models/gpt-5", Operation.MODELS, False, None),
        ("/v1/responses/resp_1", Operation.OTHER, False, "resp_1"),
        ("/v1/responses/resp_1?stream=true&starting_after=3", Operation.OTHER, True, "resp_1"),
        ("/v1/responses/resp_1/cancel", Operation.OTHER, False, "resp_1"),
        ("/v1/responses", Operation.OTHER, False, None),
        ("", Operation.OTHER, False, None),
    ],
)
def test_bare_call(path: str, operation: Operation, stream: bool, history: str | None) -> None:
    """A call without a body is known by its path."""
    call = bare_call(path, {})
    assert (call.operation, call.stream, call.history_at_provider) == (operation, stream, history)


@pytest.mark.parametrize(
    ("doc", "path", "model"),
    [
        ({"model": "m"}, "/openai/deployments/d/chat/completions", "d"),
        ({"model": "m"}, "/openai//Deployments/d%2D1/chat/completions", "d-1"),
        ({"model": "m"}, "/v1/chat/completions", "m"),
        ({}, "/openai/deployments/d/chat/completions?api-version=1", "d"),
        ({"model": ""}, "/v1/chat/completions", None),
        ({}, "/openai/deployments/", None),
    ],
)
def test_model(doc: Any, path: str, model: str | None) -> None:
    """Azure's path names the model that serves; else the body does."""
    assert model_of(doc, path) == model
