"""What the small words of a prompt say: who does what to whom, whose it is, whether, when, and or or.

A model of meaning hardly sees them, so they are compared, all of them, but for the few of HARMLESS and of asking.py. Fails
closed: a small word that is in no list counts like any other."""

# ruff: noqa: E501  tables of words and patterns, not prose
from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from difflib import SequenceMatcher

from mitmesh.caching import asking
from mitmesh.caching.lexicon import FUNCTION, HEADINGS, PREPOSITIONS, canonical, word_set

NUMBER = "qznumber"
"""Stands for a number among the small words: 2 dogs and a cat are not a dog and 2 cats."""
HARMLESS = word_set("please kindly thanks thank hi hello hey dear ok okay do does")
"""Say nothing of what is asked, wherever they stand. Articles are compared apart: none is like either."""
_ARTICLES = {"a": "a", "an": "a", "the": "the"}
_AMOUNTS = word_set("few little lot bit number couple")
"""`A few` is not `few`."""
_RELATIONS = (FUNCTION - word_set("thing things way ways s t d ll m re ve e g")) | PREPOSITIONS | word_set(
    "'s not although though unless whether while whereas whenever wherever however therefore near beside besides "
    "behind instead despite except against inside outside beyond towards either neither even almost nearly barely "
    "hardly merely solely just still yet only once little bit couple somebody someone everybody everyone anybody "
    "anyone nobody himself herself myself yourself ourselves themselves"
) | {NUMBER}  # fmt: skip
_SAME = {"are": "is", "am": "is", "were": "was", "has": "have", "cannot": "not", "amongst": "among", "between": "among"}
"""Forms that the subject alone decides, and words that mean the same."""
_TENSES = {"got": "ed"}
_LOOSE = word_set("a the of for to in with among and is be what which how any these those them it you i")
"""May differ where a prompt with a role or headings says in other words what another asks plainly."""
_CRITICAL = word_set(
    "or but except despite without not no none never nobody nothing neither nor either if unless because before after "
    "until till since while during though although only just even few little most least more less other another both "
    "all any every each same instead merely solely hardly barely almost nearly still yet once twice first last who "
    "should must ought"
)
"""Must be equal in any words."""
LONG = 10
"""Content words of a text to which one more adds little."""
_FORM = frozenset(map(canonical, word_set(
    "bullet point table list step tone style word sentence paragraph line page json yaml xml csv html markdown code "
    "example detail short brief simple formal friendly english french german spanish italian child beginner expert poem "
    "rhyme emoji emojis"
)))  # fmt: skip
"""Words for what an answer looks like."""
EDITS = 2
"""So few words that differ make one an edition of the other, and each of them counts."""
_BEGINS = word_set("i we you they he she it there my your our his her their the a an this these those")
"""Begin a clause; `that` between a word and one of them may be left out: the money (that) I sent."""
_WHOSE = word_set("my your his her our their its whose 's")
_WORD = re.compile(r"'s\b|[^\W\d_]+(?:-[^\W\d_]+)*|(?<=s)'(?!\w)")
_ENDS = ("ed", "ing")


@dataclass(frozen=True, slots=True)
class Step:
    """A content word (canonical; "" at the end of a text), with the small words before it and its own -ed or -ing."""

    before: tuple[str, ...]
    article: str
    word: str
    tense: str

    def like(self, other: Step) -> bool:
        """The same word in the same relation?"""
        return (self.before, self.word, self.tense) == (other.before, other.word, other.tense) and (
            self.article == other.article or not (self.article and other.article)
        )


def steps(prose: str) -> tuple[Step, ...]:
    """Of prose without code, quotes and numbers."""
    words = [part for each in _WORD.findall(asking.related(prose)) for part in _parts(each)]
    found: list[Step] = []
    before: list[str] = []
    article = ""
    for each, after in zip(words, [*words[1:], ""], strict=True):
        if each in _ARTICLES and after not in _AMOUNTS:
            article = _ARTICLES[each]
        elif each == "that" and found and not before and after in _BEGINS:
            continue
        elif each in _ARTICLES or each in _RELATIONS or each == "'":
            before += [_SAME.get(each, "'s" if each == "'" else each)] if each not in HARMLESS else []
            article = ""
        else:
            found.append(Step(tuple(before), article, canonical(each), _tense(each)))
            before, article = [], ""
    return (*found, Step(tuple(before), "", "", "")) if before else tuple(found)


def _parts(word: str) -> list[str]:
    return word.split("-") if "-" in word and canonical(word) not in _KNOWN else [word]


_KNOWN = frozenset(canonical(each) for each in ("cutting-edge", "state-of-the-art", "basis-point", "year-on-year"))


def _tense(word: str) -> str:
    return _TENSES.get(word) or next((end for end in _ENDS if word.endswith(end) and len(word) > len(end) + 2), "")


def equal(a: Sequence[Step], b: Sequence[Step]) -> bool:
    """Do both say the same, small words too?"""
    return len(a) == len(b) and all(one.like(other) for one, other in zip(a, b, strict=True))


def alike(a: Sequence[Step], b: Sequence[Step], *, english: bool) -> bool:
    """The same, but for a last word that only one has? Other than `english`, nothing may differ."""
    return equal(a, b) or (english and (_more(a, b) or _more(b, a)))


def apart(a: Sequence[Step], b: Sequence[Step], said: tuple[Sequence[str], Sequence[str]], *, composed: bool) -> bool:
    """Do the small words tell two apart that are not alike? `composed`: one is a prompt with a role or headings, the
    other a plain question; in other words, they may have other small words too, of _LOOSE. So may two that have other
    words and differ in more than EDITS places, but for those of _CRITICAL: what is no edition of the other was not made
    from it by turning one small word. Those with the same words in other relations are told apart, and one with all words
    of the other and further ones, but for what trails a LONG one. `said`: all words of both as said, for a way to ask
    that has one form is one edit."""
    if not _reworded(a, b):
        return True
    if composed:
        return _grave(a) != _grave(b)
    ours, theirs = ([step.word for step in steps if step.word] for steps in (a, b))
    if len(ours) != len(theirs) and _in_both(ours, theirs) == min(len(ours), len(theirs)):
        return min(len(a), len(b)) < LONG or not _trails(*sorted((ours, theirs), key=len))
    return _critical(a) != _critical(b) or min(_edits(a, b), _changed(*said)) <= EDITS


def _more(a: Sequence[Step], b: Sequence[Step]) -> bool:
    """Has `a` all that `b` has in its order, and one last word besides, in so long a text that it says little
    (variable traffic, variable traffic loads)? Any other word may be what is asked about: delete the inactive users."""
    same = len(a) == len(b) + 1 and len(b) >= LONG and all(one.like(two) for one, two in zip(a, b, strict=False))
    return same and not a[-1].before and a[-1].word not in _FORM


def _trails(few: list[str], more: list[str]) -> bool:
    """Of content words: are the further ones at the end, and say nothing of what the answer is to look like (in bullet
    points)?"""
    return more[: len(few)] == few and _FORM.isdisjoint(more[len(few) :])


def _reworded(a: Sequence[Step], b: Sequence[Step]) -> bool:
    """Are words others, and more than one of them or in another order, so that one is no edition of the other?"""
    ours, theirs = ([each.word for each in steps if each.word not in HEADINGS] for steps in (a, b))
    if sorted(ours) == sorted(theirs):
        return False
    return len(ours) + len(theirs) - 2 * _in_both(ours, theirs) > 1


def _edits(a: Sequence[Step], b: Sequence[Step]) -> int:
    ours, theirs = ([word for step in steps for word in (*step.before, step.word)] for steps in (a, b))
    return _changed(ours, theirs)


def _changed(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many words of the longer are not in the other in this order."""
    return max(len(ours), len(theirs)) - _in_both(ours, theirs)


def _in_both(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many words both have in the same order."""
    return sum(each.size for each in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks())


def _critical(found: Sequence[Step]) -> Set[str]:
    return {each for step in found for each in step.before if each in _CRITICAL}


def _grave(found: Sequence[Step]) -> Set[tuple[str, str]]:
    """The small words that must be equal however a question is put; those that say whose, with what is theirs."""
    return {(each, step.word if each in _WHOSE else "") for step in found for each in step.before if each not in _LOOSE}
