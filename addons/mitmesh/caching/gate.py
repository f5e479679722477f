"""May the answer to one prompt be given to another? Cosine alone never decides.

First facts: numbers, names, negation, code ... must be equal, and nothing may be turned round or exchanged. What is
left needs a cosine that depends on how many words both share, and whether both say the same in the same words: tables
learned by scripts/train-gate, in data/gate/gate.json."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

from mitmesh.caching.lexicon import DIRECTED, FUNCTION, HEADINGS, LIGHT, OPPOSITES, PREPOSITIONS, stem
from mitmesh.caching.reading import Reading, read
from mitmesh.caching.relations import Step, alike, apart, equal
from mitmesh.caching.spelling import american
from mitmesh.caching.subject import professional

SHORT = 6
"""Content words of both together; below, a word that only one has is another question."""
NEAR = 1
"""Content words between two that a preposition sets into relation."""
GATE = Path(__file__).parents[1] / "data" / "gate" / "gate.json"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reason` is one word for metrics and audit (`numbers`, `negation` ... or `meaning`); `score` is 1 for
    equal vectors, 0.5 where the cosine is the least that will do, 0 where a fact forbids it."""

    hit: bool
    reason: str
    score: float


@cache
def table() -> dict[str, Any]:
    """What was learned: `least_cosine` by `kind` and `step` (1, 2, ... the last for all more), and `most_unshared`."""
    found: dict[str, Any] = json.loads(GATE.read_text())
    return found


def judge(asked: str, cached: str, cosine: float) -> Judgement:
    """Both are texts of last user turns (raw or normalised); `cosine` of their embeddings. Symmetric; never raises
    whatever the texts."""
    try:
        return _judged(asked, cached, cosine)
    except Exception:  # noqa: BLE001  what cannot be compared is a miss; the exception could quote the texts
        return Judgement(False, "failed", 0.0)


def _judged(asked: str, cached: str, cosine: float) -> Judgement:
    a, b = read(asked), read(cached)
    if a is None or b is None or not math.isfinite(cosine):
        return Judgement(False, "length", 0.0)
    if why := forbidden(a, b):
        return Judgement(False, why, 0.0)
    least = required(kind(a, b), step(a, b))
    score = max(0.0, 1 - (1 - min(1.0, cosine)) / max(1 - least, 1e-6) / 2)
    return Judgement(comparable(a, b) and cosine >= least, "meaning", score)


def forbidden(a: Reading, b: Reading) -> str:
    """The first fact that keeps the two apart, or nothing."""
    for kind, value in a.facts.items():
        if value != b.facts[kind]:
            return kind
    if _headed(a, b) or _headed(b, a):
        return "heading"
    if a.numbers != b.numbers and not composed(a, b):
        return "numbers"
    if _shuffled(a, b):
        return "lines"
    if _role(a, b):
        return "persona"
    if not (_known(a.names, b) and _known(b.names, a)):
        return "names"
    for why, check in (
        ("spelling", _spelt),
        ("identifiers", _renamed),
        ("wording", _worded),
        ("case", _cased),
        ("question", _question),
        ("plural", _plural),
        ("persons", _persons),
        ("antonyms", _opposed),
        ("direction", _directed),
    ):
        if check(a, b):
            return why
    if _exchanged(a, b):
        return "exchanged"
    if _qualified(a, b):
        return "qualified"
    english = a.english and b.english
    if alike(_below_heading(a, b), _below_heading(b, a), english=english):
        return ""
    if _turned(a, b):
        return "order"
    return "relations" if not english or apart(a.steps, b.steps, (a.spoken, b.spoken), composed=composed(a, b)) else ""


def _headed(a: Reading, b: Reading) -> bool:
    """Says a heading or label of one more than what kind of text it is and what the other speaks of: `Tone: sarcastic`,
    `For toddlers`?"""
    return bool(a.frame - HEADINGS - b.frame - set(b.words) - b.seen)


def _below_heading(a: Reading, b: Reading) -> tuple[Step, ...]:
    """Its steps, without those of a heading in front where it alone has one."""
    return a.steps if b.headed else a.steps[a.headed :]


def _shuffled(a: Reading, b: Reading) -> bool:
    """Lines both have, in the other order."""
    if len(a.rows) < 2 or len(b.rows) < 2:
        return False
    ours, theirs = set(a.rows), set(b.rows)
    return [each for each in a.rows if each in theirs] != [each for each in b.rows if each in ours]


def _role(a: Reading, b: Reading) -> bool:
    """A role that only one has, and that says more than: know the subject, or is asked about."""
    if a.role == b.role:
        return False
    return bool(a.role and b.role) or not professional(a.role or b.role) or a.addressed or b.addressed


def _spelt(a: Reading, b: Reading) -> bool:
    """A word spelt two ways: one may be a name where code is spoken of, and both are asked about where both stand."""
    ours, theirs = ({american(each) for each in reading.two_ways} for reading in (a, b))
    one, other = ([each for each in reading.two_ways if american(each) in ours & theirs] for reading in (a, b))
    return one != other and (a.technical or b.technical or len(set(one)) > len(ours & theirs))


def _renamed(a: Reading, b: Reading) -> bool:
    """A likely name of one that the other has not just so: the `remove` method is not the `delete` method."""
    return not (a.named <= b.written and b.named <= a.written)


def _worded(a: Reading, b: Reading) -> bool:
    """A word exchanged for another that means the same, where words are asked about."""
    return a.wording != b.wording


def _cased(a: Reading, b: Reading) -> bool:
    """CO and Co; all small is careless."""
    return any(
        each.capitalize() in other.written and each not in other.written
        for one, other in ((a, b), (b, a)) for each in one.shouted
    )  # fmt: skip


def _known(names: frozenset[str], other: Reading) -> bool:
    """Has the other each of these words, however it is written?"""
    return names <= other.seen


def _question(a: Reading, b: Reading) -> bool:
    """What is asked: why and when, how and whether. In many words it may be said twice, once so and once so."""
    if a.question == b.question:
        return False
    heavy, _, both = unshared(a, b)
    return both + len(heavy) < SHORT or bool(a.question and b.question and "how" not in (a.question, b.question))


def _plural(a: Reading, b: Reading) -> bool:
    """The same word for word, but for one of a thing in the one and several in the other: the file is, the files are.
    In other words, who says it may decide: it works, how does it work."""
    if len(a.spoken) != len(b.spoken):
        return False
    pairs = zip(a.spoken, b.spoken, strict=True)
    other = [(one.strip(_MARKS), two.strip(_MARKS)) for one, two in pairs if one != two]
    return any(one != two for one, two in other) and all(
        stem(_AGREES.get(one, one)) == stem(_AGREES.get(two, two)) for one, two in other
    )


_MARKS = ".,;:!?()\"'"
_AGREES = {"are": "is", "were": "was", "have": "has", "do": "does"}


def _persons(a: Reading, b: Reading) -> bool:
    """I send you, you send me; she asked him, he asked her."""
    ours, theirs = list(dict.fromkeys(a.persons)), list(dict.fromkeys(b.persons))
    return ours != theirs and sorted(ours) == sorted(theirs)


def _opposed(a: Reading, b: Reading) -> bool:
    """A word of one whose opposite the other has in its place."""
    only_a, only_b = set(a.tokens) - set(b.tokens), set(b.tokens) - set(a.tokens)
    only_a |= {each for each in a.seen if each not in b.seen}
    only_b |= {each for each in b.seen if each not in a.seen}
    return any((one, other) in OPPOSITES for one in only_a for other in only_b)


def _led(tokens: tuple[str, ...]) -> dict[str, set[str]]:
    """The preposition before each content word; none where there is none."""
    found: dict[str, set[str]] = {}
    last = ""
    for each in tokens:
        if each in PREPOSITIONS:
            last = each
        elif each not in FUNCTION:
            found.setdefault(each, set()).add(last)
            last = ""
    return found


def _directed(a: Reading, b: Reading) -> bool:
    """A word both have stands after `to` in one and after `from` in the other, and the like."""
    ours, theirs = _led(a.tokens), _led(b.tokens)
    for word in ours.keys() & theirs.keys():
        one, other = (ours[word] & DIRECTED), (theirs[word] & DIRECTED)
        if one and other and one != other:
            return True
        if (ours[word] - {""}) and (theirs[word] - {""}) and (one or other) and one != other:
            return True
    return False


def _turned(a: Reading, b: Reading) -> bool:
    """Two words both have, in the other order, where order matters: next to each other, with the same words between
    them, or near each other with a word of direction or the same preposition between them; or where one alone asks by
    do: who calls Ann, whom does Ann call."""
    shared = set(a.words) & set(b.words)
    inverted = _WHOM.intersection(a.spoken, b.spoken) and _DO.isdisjoint(a.spoken) != _DO.isdisjoint(b.spoken)
    ours, theirs = _places(a.tokens, shared), _places(b.tokens, shared)
    words = sorted(ours.keys() & theirs.keys(), key=lambda word: ours[word])
    for i, x in enumerate(words):
        for y in words[i + 1 :]:
            if theirs[x] < theirs[y]:
                continue
            one = set(a.tokens[ours[x] + 1 : ours[y]])
            other = set(b.tokens[theirs[y] + 1 : theirs[x]])
            if inverted or (not one and not other) or _turns(one, other):
                return True
    return False


_DO, _WHOM = frozenset(("do", "does", "did")), frozenset(("who", "whom", "which"))


def _turns(one: set[str], other: set[str]) -> bool:
    """Does what stands between two words in one text and in the other say that their order counts?"""
    ours, theirs = one - FUNCTION, other - FUNCTION
    if ours and ours == theirs:
        return True
    led = (one | other) & DIRECTED or one & other & PREPOSITIONS
    return bool(led) and max(len(ours), len(theirs)) <= NEAR


def _places(tokens: tuple[str, ...], shared: set[str]) -> dict[str, int]:
    """Where words stand that occur once."""
    counts = Counter(tokens)
    return {each: n for n, each in enumerate(tokens) if each in shared and counts[each] == 1}


def _exchanged(a: Reading, b: Reading) -> bool:
    """In the same place of both, words that do not mean the same."""
    for kind, i, j, k, m in SequenceMatcher(None, a.words, b.words, autojunk=False).get_opcodes():
        if kind == "replace":
            one = set(a.words[i:j]) - LIGHT - set(b.words) - a.frame
            other = set(b.words[k:m]) - LIGHT - set(a.words) - b.frame
            if one and other:
                return True
    return False


def unshared(a: Reading, b: Reading) -> tuple[set[str], set[str], int]:
    """The words that one has and the other has not, and of those that say little; how many both have, numbers too.
    A heading's words are no difference where the other has no heading."""
    ours, theirs = set(a.words), set(b.words)
    slight = LIGHT | (frozenset() if a.frame and b.frame else a.frame | b.frame)
    both = len(ours & theirs) + len(a.numbers) + len(a.facts["names"])  # type: ignore[arg-type]
    return (ours ^ theirs) - slight, (ours ^ theirs) & LIGHT, both


def _qualified(a: Reading, b: Reading) -> bool:
    """In a few words each one counts: list files, list hidden files."""
    heavy, _, both = unshared(a, b)
    return bool(heavy) and both + len(heavy) < SHORT


def composed(a: Reading, b: Reading) -> bool:
    """Has one alone a role or headings? It may say in another order and in other words what the other asks plainly."""
    return bool(a.role or a.frame) != bool(b.role or b.frame)


def comparable(a: Reading, b: Reading) -> bool:
    """Have both enough words in common for a cosine to say anything?"""
    heavy, _, both = unshared(a, b)
    return step(a, b) > 0 and len(heavy) <= table()["most_unshared"] * (both + len(heavy))


def step(a: Reading, b: Reading) -> int:
    """How many content words both have; less two where each has one that the other has not, for what is exchanged is
    often what was asked about: the exchange rate of a payment, of cash."""
    heavy, _, both = unshared(a, b)
    return both - 2 if heavy - set(a.words) and heavy - set(b.words) else both


def kind(a: Reading, b: Reading) -> str:
    """`same`: the same words in the same relations, but for ways to ask; `other`: other words too,
    or in another order."""
    return "same" if (a.said ^ b.said) <= LIGHT and equal(a.steps, b.steps) else "other"


def required(kind: str, step: int) -> float:
    """The least cosine by how many content words both have; more words shared, less is asked."""
    steps: list[float] = table()["least_cosine"][kind]
    return steps[min(max(step, 1), len(steps)) - 1]


def least() -> float:
    """No lower cosine will ever do."""
    tables: dict[str, list[float]] = table()["least_cosine"]
    return min(min(steps) for steps in tables.values())
