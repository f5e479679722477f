"""Texts as vectors: all-MiniLM-L6-v2 as int8 ONNX, run off the event loop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Embedding:
    """A unit vector, each component times 127, as signed bytes."""

    vector: bytes


class Embedder:
    """The shipped model in one thread of this process."""

    async def start(self) -> None:
        """Load the model. Raises EmbedderError where it is not there or damaged."""

    async def embed(self, text: str) -> Embedding | None:
        """None: longer than the model reads (256 tokens), too many are waiting, or it failed."""
        return None

    async def stop(self) -> None:
        """End the thread; what waits gets None."""

    def health(self) -> str:
        """Empty when well, else what is wrong."""
        return ""


class EmbedderError(Exception):
    """The model cannot be loaded; the message says what to do."""


class ProcessEmbedder(Embedder):
    """Another sentence-transformers model, in a process of a Python of the operator's choice."""

    def __init__(self, python: str, model: str) -> None:
        self._python, self._model = python, model
