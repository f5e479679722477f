"""Notices an agent that goes round in circles: the same session that says the same, or nearly, again and again.

Kept of each step are the smallest hashes of its word triples, of which the share in common tells how alike two texts
are (Broder's bottom-k sketch); no text. Hashes are Python's own, salted anew in each process. Memory is bounded by
SESSIONS times STEPS sketches.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mitmesh.dialects.base import Provenance

if TYPE_CHECKING:
    from mitmesh.dialects.base import Call
    from mitmesh.exchange import Exchange
    from mitmesh.rules.quotas import Loops

SESSIONS = 2_000
"""Sessions that are watched, the latest."""
STEPS = 8
"""Different steps of one session that are compared."""
SKETCH = 16
"""Hashes kept of a step."""
READ = 4_000
"""Characters of a step that are read: its two ends."""

type Sketch = frozenset[int]
_WORDS = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class _Step:
    sketch: Sketch
    times: deque[float] = field(default_factory=lambda: deque(maxlen=100))


class Watch:
    """Counts how often each session takes a step that it took before."""

    def __init__(self, sessions: int = SESSIONS) -> None:
        self._most = sessions
        self._sessions: OrderedDict[int, deque[_Step]] = OrderedDict()

    def times(self, x: Exchange, rules: Loops, now: float) -> int:
        """How often the call's session took this step within the rules' minutes, this time included."""
        sketch = sketched(step(x.call))
        if not sketch:
            return 0
        steps = self._steps(session(x))
        same = next((known for known in steps if alike(known.sketch, sketch) >= rules.alike), None)
        if same is None:
            same = _Step(sketch)
            steps.append(same)
        while same.times and same.times[0] <= now - rules.minutes * 60:
            same.times.popleft()
        same.times.append(now)
        return len(same.times)

    def _steps(self, key: int) -> deque[_Step]:
        steps = self._sessions.get(key)
        if steps is None:
            steps = self._sessions[key] = deque(maxlen=STEPS)
        self._sessions.move_to_end(key)
        while len(self._sessions) > self._most:
            self._sessions.popitem(last=False)
        return steps


def session(x: Exchange) -> int:
    """Which session a call is of: what the client claims, and whose it is. Where it claims none, the conversation's
    beginning stands for it."""
    who = x.identity
    begins: object = x.call.session
    if begins is None:
        first = next((text.text for text in x.call.texts if text.provenance is Provenance.USER), "")
        begins = (first[:READ], x.call.model)
    return hash((begins, who.team, who.user, who.key, x.credential, x.client))


def step(call: Call) -> str:
    """What a call adds to its conversation: the texts of the last message, and the tool calls of the one before."""
    said = [text for text in call.texts if text.message >= 0]
    spoken = (Provenance.USER, Provenance.TOOL_RESULT, Provenance.TOOL_CALL, Provenance.ASSISTANT)
    said = [text for text in said if text.provenance in spoken]
    if not said:
        return ""
    last = max(text.message for text in said)
    called = max((text.message for text in said if text.provenance is Provenance.TOOL_CALL), default=-1)
    wanted = {last, called if called >= last - 2 else last}
    return "\n".join(text.text for text in said if text.message in wanted)


def sketched(text: str) -> Sketch:
    """The sketch of a text; letter case and numbers (a time, a counter) make no difference. Empty for one of no
    words."""
    if len(text) > READ:
        text = text[: READ // 2] + " " + text[-READ // 2 :]
    words = _WORDS.findall(_NUMBER.sub("0", text.lower()))
    triples = {hash(tuple(words[at : at + 3])) for at in range(max(1, len(words) - 2))} if words else set()
    return frozenset(sorted(triples)[:SKETCH])


def alike(one: Sketch, two: Sketch) -> int:
    """How alike two texts are, in percent, by their sketches."""
    least = sorted(one | two)[:SKETCH]
    return sum(each in one and each in two for each in least) * 100 // len(least)
