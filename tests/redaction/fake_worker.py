"""A worker that does as the texts say, to show what the pool makes of it."""

import os
import sys
import time

from mitmesh.redaction import frames

hello = frames.read(sys.stdin.buffer)
if hello["pii"].startswith("fails"):
    sys.stdout.buffer.write(frames.encode({"failed": "ModelMissing: install it"}))
    sys.exit(0)
if hello["pii"].startswith("once "):  # starts the first time, never again
    marker = hello["pii"].removeprefix("once ")
    if os.path.exists(marker):
        sys.exit(1)
    open(marker, "w").close()
sys.stdout.buffer.write(frames.encode({"ready": os.getpid()}))
sys.stdout.buffer.flush()
while (job := frames.read(sys.stdin.buffer)) is not None:
    answer = {"found": [[[0, len(text), "EMAIL", str(os.getpid()), 1.0]] for text in job["texts"]]}
    for text in job["texts"]:
        if text == "hang":
            time.sleep(60)
        elif text == "slow":
            time.sleep(0.2)
        elif text == "die":
            os._exit(1)
        elif text == "raise":
            answer = {"failed": "ValueError at x.py:1"}
        elif text == "environment":
            answer["found"][0][0][3] = " ".join(os.environ)
        elif text == "garbage":
            sys.stdout.buffer.write(b"\x00\x00\x00\x02no")
    sys.stdout.buffer.write(frames.encode(answer))
    sys.stdout.buffer.flush()
