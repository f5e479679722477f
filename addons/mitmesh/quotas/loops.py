"""Notices an agent that goes round in circles: the same session that says the same, or nearly, again and again.

Kept of each step are the smallest hashes of its word triples, of which the share in common tells how alike two texts
are (Broder's bottom-k sketch); no text. Hashes are Python's own, salted anew in each process; what other workers are
told has its own (repeats.py). Memory is bounded by ALL sketches, some 40 MB.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from mitmesh.dialects.base import Provenance

if TYPE_CHECKING:
    from mitmesh.dialects.base import Call
    from mitmesh.exchange import Exchange
    from mitmesh.rules.quotas import Loops

SESSIONS = 2_000
"""Sessions that are watched, the latest."""
STEPS = 64
"""Different steps of one session that are compared, those taken last: a circle may be as long."""
ALL = 16_000
"""Steps of all sessions; beyond it the session is forgotten that was heard of least lately."""
SKETCH = 16
"""Hashes kept of a step."""
READ = 4_000
"""Characters of a step that are read: its two ends."""

type Sketch = frozenset[int]
type _Steps = OrderedDict[Sketch, deque[float]]
_WORDS = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")


class Watch:
    """Counts how often each session takes a step that it took before."""

    def __init__(self, sessions: int = SESSIONS, steps: int = ALL) -> None:
        self._most, self._most_steps = sessions, steps
        self._sessions: OrderedDict[int, _Steps] = OrderedDict()
        self._count = 0  # steps of all of them

    def times(self, x: Exchange, rules: Loops, now: float) -> int:
        """How often the call's session took this step within the rules' minutes, this time included."""
        return len(self.seen(x, rules, now)[1])

    def seen(self, x: Exchange, rules: Loops, now: float) -> tuple[int, list[float]]:
        """A name for the step, and all that are taken for the same, in this process; how long ago it was each time, in
        seconds: empty for a step of no words."""
        sketch = sketched(step(x.call))
        if not sketch:
            return 0, []
        steps = self._steps(hash(session(x)))
        found = sketch if sketch in steps else next((known for known in steps if same(known, sketch, rules)), sketch)
        times = steps.get(found)
        if times is None:
            times = steps[found] = deque(maxlen=100)
            self._count += 1
            self._trim(steps)
        steps.move_to_end(found)
        while times and times[0] <= now - rules.minutes * 60:
            times.popleft()
        times.append(now)
        return hash(found), [now - at for at in times]

    def _steps(self, key: int) -> _Steps:
        steps = self._sessions.get(key)
        if steps is None:
            steps = self._sessions[key] = OrderedDict()
        self._sessions.move_to_end(key)
        return steps

    def _trim(self, steps: _Steps) -> None:
        if len(steps) > STEPS:
            steps.popitem(last=False)
            self._count -= 1
        while len(self._sessions) > self._most or (self._count > self._most_steps and len(self._sessions) > 1):
            self._count -= len(self._sessions.popitem(last=False)[1])


def session(x: Exchange) -> tuple[object, ...]:
    """Which session a call is of: what the client claims, and whose it is. Where it claims none, the conversation's
    beginning stands for it."""
    who = x.identity
    begins: object = x.call.session
    if begins is None:
        first = next((text.text for text in x.call.texts if text.provenance is Provenance.USER), "")
        begins = (first[:READ], x.call.model)
    return begins, who.team, who.user, who.key, x.credential, x.client


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
    return frozenset(sorted({hash(each) for each in triples(text)})[:SKETCH])


def triples(text: str) -> list[tuple[str, ...]]:
    """Three words after another, each time."""
    if len(text) > READ:
        text = text[: READ // 2] + " " + text[-READ // 2 :]
    words = _WORDS.findall(_NUMBER.sub("0", text.lower()))
    return [tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))] if words else []


def same(one: Sketch, two: Sketch, rules: Loops) -> bool:
    """Are two steps the same, by their sketches?"""
    if len(one & two) * 100 < rules.alike * max(len(one), len(two)):
        return False  # as most are, in a fiftieth of the time
    return alike(one, two) >= rules.alike


def alike(one: Sketch, two: Sketch) -> int:
    """How alike two texts are, in percent, by their sketches."""
    least = sorted(one | two)[:SKETCH]
    return sum(each in one and each in two for each in least) * 100 // len(least)
