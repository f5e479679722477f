"""Another sentence-transformers model, in a process of its own: JSON lines over a pipe, a text there, a vector back."""

from __future__ import annotations

import asyncio
import json
import os

import numpy as np

from mitmesh.caching.embedder import CHARACTERS, WAITING, EmbedderError, Embedding
from mitmesh.caching.subject import subject

SECONDS = 5.0
"""What one text may take; a process that takes longer is ended and started again at the next."""
START_SECONDS = 120.0
_SERVER = """
import json, sys
answers, sys.stdout = sys.stdout, sys.stderr
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
longest = model.max_seq_length or 256
answers.write("{}\\n"); answers.flush()
for line in sys.stdin:
    asked = json.loads(line)
    fits = len(model.tokenizer(asked["whole"])["input_ids"]) <= longest
    vector = [float(each) for each in model.encode(asked["text"], show_progress_bar=False)] if fits else None
    answers.write(json.dumps({"vector": vector}) + "\\n"); answers.flush()
"""


class ProcessEmbedder:
    """`python` has sentence-transformers; `model` is a folder or a name it knows. Used as an Embedder is."""

    def __init__(self, python: str, model: str, waiting: int = WAITING) -> None:
        self._python, self._model, self._most = python, model, waiting
        self._waiting = 0
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._stopped = True
        self._failed = ""

    async def start(self) -> None:
        """Start the process and wait for its model. Raises EmbedderError."""
        self._stopped = False
        try:
            await asyncio.wait_for(self._launch(), START_SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            await self.stop()
            raise EmbedderError(
                f"no embedder by {self._python} with the model {self._model}: does that Python have "
                "sentence-transformers, and the model (it may not download it)?"
            ) from error

    async def _launch(self) -> None:
        known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "HF_HOME") if name in os.environ}
        self._process = await asyncio.create_subprocess_exec(
            self._python, "-c", _SERVER, self._model,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=known | {"HF_HUB_OFFLINE": "1"}, limit=1 << 20,
        )  # fmt: skip
        await self._answer(self._process)

    @staticmethod
    async def _answer(process: asyncio.subprocess.Process) -> dict[str, object]:
        assert process.stdout is not None
        found = json.loads(await process.stdout.readline())  # an empty line, its end, is a ValueError
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found

    async def embed(self, text: str) -> Embedding | None:
        """The vector of what the text is about; None: too long, too many are waiting, or it failed."""
        if self._stopped or self._waiting >= self._most or len(text) > CHARACTERS:
            return None
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.wait_for(self._ask(text), SECONDS)
        except (OSError, ValueError, TypeError, TimeoutError) as error:
            self._failed = f"the embedder's process failed: {type(error).__name__}"
            self._end()
            return None
        except asyncio.CancelledError:
            self._end()  # its answer to this text must not become the next one's
            raise
        finally:
            self._waiting -= 1

    async def _ask(self, text: str) -> Embedding | None:
        if self._process is None:
            await self._launch()
        process = self._process
        assert process is not None and process.stdin is not None
        process.stdin.write(json.dumps({"text": subject(text), "whole": text}).encode() + b"\n")
        await process.stdin.drain()
        vector = (await self._answer(process)).get("vector")
        self._failed = ""
        return None if vector is None else Embedding.of(np.array(vector, dtype=np.float32))

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()

    async def stop(self) -> None:
        """End the process."""
        self._stopped = True
        process = self._process
        self._end()
        if process is not None:
            await process.wait()

    def health(self) -> str:
        """Empty when well, else what is wrong."""
        return "the embedder is not running" if self._stopped else self._failed
