"""Models in paths."""

from __future__ import annotations

import pytest

from mitmesh.dialects.base import Call
from mitmesh.dialects.generic import Generic
from mitmesh.dialects.in_path import model_in, model_in_query

ARN = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-20250514-v1:0"


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/openai/deployments/gpt-5/chat/completions?api-version=1", "gpt-5"),
        ("/openai/Deployments/gpt%2D5/audio/speech", "gpt-5"),
        ("/openai//deployments//gpt-5//images/generations", "gpt-5"),
        ("/v1/engines/davinci/completions", "davinci"),
        ("/model/us.anthropic.claude-opus-4-v1%3A0/invoke", "us.anthropic.claude-opus-4-v1:0"),
        ("/model/amazon.nova:0/converse-stream/", "amazon.nova:0"),
        (f"/model/{ARN.replace('/', '%2F').replace(':', '%3A')}/converse", ARN),
        (f"/model/{ARN}/invoke-with-response-stream", ARN),
        ("/model/m/count-tokens", "m"),
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("/v1/projects/p/locations/l/publishers/mistralai/models/mistral-large@2411:rawPredict", "mistral-large@2411"),
        ("/v1beta/models/gemini%3AbatchGenerateContent", "gemini"),
        ("/models/meta/llama-3", None),
        ("/models/chat/completions", None),
        ("/v1/models/gpt-5", None),
        ("/v1/chat/completions?model=gpt-5", None),
        ("/openai/deployments/", None),
        ("/", None),
    ],
)
def test_model_in(path: str, model: str | None) -> None:
    """Where the path names one."""
    assert model_in(path) == model


def test_which_counts() -> None:
    """The path's before the body's, the query's where there is no other."""

    def named(path: str, **fields: str) -> Call:
        return Generic().read(fields, path, {})

    assert named("/model/a/invoke", model="b").model == "a"
    assert named("/v1/realtime/calls?model=a", model="b").model == "b"
    assert named("/v1/realtime/calls?x=1&model=a").model == "a"
    assert named("/x", modelId="a").model == "a"
    assert named("/models/meta/llama-3").model == named("/hf-inference/models/meta/llama-3").model == "meta/llama-3"
    for path in ("/models/chat/completions", "/models/images/embeddings", "/models/x/embeddings"):  # Azure's
        assert named(path, model="b").model == "b" and named(path).model is None
    assert model_in_query("/x?model=") is None and model_in_query("/x?y") is None
