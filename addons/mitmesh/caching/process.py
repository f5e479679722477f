"""Another sentence-transformers model, in a process of its own: JSON lines over a pipe, a text there, a vector back."""

from __future__ import annotations

import asyncio
import json
import os

import numpy as np

from mitmesh.caching.embedder import CHARACTERS, WAITING, Embedding
from mitmesh.caching.meaning import EmbedderError
from mitmesh.caching.subject import subject

SECONDS = 5.0
"""What one text may take; a process that takes longer is ended."""
START_SECONDS = 120.0
AGAIN_SECONDS = 5.0
"""How long after its end it is started again."""
OFFLINE = {"HF_HUB_OFFLINE": "1"}
ALONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""One thread: for one short text several wait for each other, ten times as long where the machine has other work."""
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
        self._asking: set[asyncio.Task[Embedding | None]] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._again: asyncio.Task[None] | None = None
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
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def _launch(self) -> None:
        known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "HF_HOME") if name in os.environ}
        process = self._process = await asyncio.create_subprocess_exec(
            self._python, "-c", _SERVER, self._model,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=known | OFFLINE | ALONE, limit=1 << 20,
        )  # fmt: skip
        await self._answer(process)

    @staticmethod
    async def _answer(process: asyncio.subprocess.Process) -> dict[str, object]:
        assert process.stdout is not None
        found = json.loads(await process.stdout.readline())  # an empty line, its end, is a ValueError
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found

    async def embed(self, text: str) -> Embedding | None:
        """The vector of what the text is about; None: too long, too many are waiting, or it failed."""
        if self._stopped or self._again or len(self._asking) >= self._most or len(text) > CHARACTERS:
            return None
        asking = asyncio.create_task(self._ask(text))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return await asyncio.shield(asking)  # who gives up waiting leaves no answer behind that would be the next one's

    async def _ask(self, text: str) -> Embedding | None:
        async with self._turn:
            process = self._process
            if process is None:
                return None
            try:
                return await asyncio.wait_for(self._vector(process, text), SECONDS)
            except (OSError, ValueError, TypeError, TimeoutError) as error:
                self._failed = f"the embedder's process failed ({type(error).__name__}) and is started again"
                self._end()
                if not self._stopped:
                    self._again = asyncio.create_task(self._start_again())
                return None

    async def _vector(self, process: asyncio.subprocess.Process, text: str) -> Embedding | None:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"text": subject(text), "whole": text}).encode() + b"\n")
        await process.stdin.drain()
        vector = (await self._answer(process)).get("vector")
        self._failed = ""
        return None if vector is None else Embedding.of(np.array(vector, dtype=np.float32))

    async def _start_again(self) -> None:
        """Until it runs."""
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            try:
                await asyncio.wait_for(self._launch(), START_SECONDS)
            except (OSError, ValueError, TimeoutError) as error:
                self._failed = f"the embedder's process cannot be started again: {type(error).__name__}"
                self._end()
            else:
                self._failed, self._again = "", None
                return

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()

    async def stop(self) -> None:
        """End the process."""
        self._stopped = True
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
            await asyncio.wait({again})
        process = self._process
        self._end()
        if process is not None:
            await process.wait()
        if self._asking:
            await asyncio.wait(self._asking)

    def health(self) -> str:
        """Empty when well, else what is wrong."""
        return "the embedder is not running" if self._stopped else self._failed
