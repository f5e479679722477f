"""Texts as vectors: all-MiniLM-L6-v2 as int8 ONNX, run off the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from mitmesh.caching.lane import Busy, Lane
from mitmesh.caching.meaning import EmbedderError
from mitmesh.caching.subject import subject

MODEL = Path(__file__).parents[1] / "data" / "embedder"
TOKENS = 256
"""What the model reads, with the two marks around a text; of longer texts it would see the beginning alone."""
CHARACTERS = 8_192
"""No text of more is worth tokenising to learn that it is too long."""
WAITING = 64
"""Texts that may wait for the thread, about a quarter of a second's work; one more is a miss."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """A direction as signed bytes, its largest component 127: finer than a unit vector's would be."""

    vector: bytes

    @classmethod
    def of(cls, values: np.ndarray) -> Embedding | None:
        """From a model's floats; None where they are no direction."""
        largest = float(np.abs(values).max(initial=0))
        if not np.isfinite(largest) or largest == 0:
            return None
        return cls(np.round(values / largest * 127).astype(np.int8).tobytes())


class Embedder:
    """The shipped model in one thread of this process; onnxruntime computes without the GIL."""

    def __init__(self, model: Path = MODEL, waiting: int = WAITING) -> None:
        self._model, self._most = model, waiting
        self._lane: Lane | None = None
        self._failed = ""
        self._session: onnxruntime.InferenceSession
        self._tokenizer: Tokenizer

    async def start(self) -> None:
        """Load the model. Raises EmbedderError where it is not there or damaged."""
        self._lane = Lane("embedder", self._most)
        try:
            await self._lane.run(self._load)
        except Exception as error:  # both libraries raise bare Exception
            await self.stop()
            raise EmbedderError(
                f"the embedder's model in {self._model} cannot be loaded ({type(error).__name__}): "
                "make it again with scripts/export-embedder, or turn the cache's semantic layer off"
            ) from error

    def _load(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its log lines could quote
        self._tokenizer = Tokenizer.from_file(str(self._model / "tokenizer.json"))
        self._session = onnxruntime.InferenceSession(
            self._model / "model.int8.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._compute("warm up")

    async def embed(self, text: str) -> Embedding | None:
        """The vector of what the text is about (subject.py). None: longer than the model reads, too many are waiting,
        or it failed; never raises."""
        if self._lane is None or len(text) > CHARACTERS:
            return None
        try:
            return await self._lane.run(partial(self._guarded, text))
        except Busy:
            return None

    def _guarded(self, text: str) -> Embedding | None:
        try:
            return self._compute(text)
        except Exception as error:  # noqa: BLE001  whatever it is, the call is a miss; the text stays out of it
            self._failed = f"the embedder failed: {type(error).__name__}"
            return None

    def _compute(self, text: str) -> Embedding | None:
        tokens, about = self._tokenizer.encode(text).ids, subject(text)
        if len(tokens) > TOKENS:
            return None
        ids = np.array([tokens if about == text else self._tokenizer.encode(about).ids], dtype=np.int64)
        (found,) = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        self._failed = ""
        return Embedding.of(np.asarray(found)[0])

    async def stop(self) -> None:
        """End the thread."""
        lane, self._lane = self._lane, None
        if lane is not None:
            await lane.close()

    def health(self) -> str:
        """Empty when well, else what is wrong."""
        return self._failed if self._lane is not None else "the embedder is not running"
