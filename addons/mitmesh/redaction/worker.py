"""A process of the pool: `python -m mitmesh.redaction.worker`. Reads texts on stdin, answers findings on stdout.

It ends with its parent (end of stdin) and kills itself when a search takes too long: a regex that hangs holds the
GIL, but not the kernel's alarm. What goes wrong is told by class and place, never in words, which may quote a text.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from mitmesh.redaction import frames


def main() -> None:
    """Read the rules, say what is loaded, then serve."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not pass for an answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the proxy ends us when it is done
    first = frames.read(source)
    if first is None:
        return
    sink.write(frames.encode(_prepare(first)))
    sink.flush()
    _step_back()
    while (job := frames.read(source)) is not None:
        signal.alarm(int(first["seconds"]) + 2)
        answer = _search(job["texts"])
        signal.alarm(0)
        sink.write(frames.encode(answer))
        sink.flush()


def _step_back() -> None:
    """The proxy's event loop comes first: it wakes us and must not lose its processor to us for that."""
    os.nice(15)
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _prepare(first: Any) -> dict[str, Any]:
    try:
        from mitmesh.redaction import search
        from mitmesh.rules.pii import Pii

        search.use(Pii.model_validate_json(first["pii"]))
        search.find_now("warm up: someone@example.com +1 212 555 0123")
    except Exception as error:  # noqa: BLE001 # told to the proxy, which does not start with it
        words = str(error) if type(error).__name__ == "ModelMissing" else _place(error)
        return {"failed": words}
    return {"ready": os.getpid()}


def _search(texts: list[str]) -> dict[str, Any]:
    from mitmesh.redaction.findings import to_plain
    from mitmesh.redaction.search import find_now

    try:
        return {"found": [to_plain(find_now(text)) for text in texts]}
    except Exception as error:  # noqa: BLE001 # told to the proxy, which refuses the call
        return {"failed": _place(error)}


def _place(error: BaseException) -> str:
    """`ValueError at presidio.py:88`: enough to find the bug, nothing of the text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{where}"


if __name__ == "__main__":
    main()
