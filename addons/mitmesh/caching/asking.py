"""Ways to ask and to say that mean the same, put into one form before the words of two prompts are compared.

Each pattern is one for which tests/caching/data/pairs.jsonl has neighbours that mean something else."""

# ruff: noqa: E501  tables of patterns, not prose
from __future__ import annotations

import re
from dataclasses import dataclass

_PERSON = "i|we|you|they|he|she|it|there"
_AUX = "am|is|are|was|were|can|could|should|will|would|have|has|had|may|might"
_WHOSE = "my|your|our|his|her|their|the|this|an?"
_SEEM = r"(?:sound|look|rank|feel|seem|appear|compare|differ|stand|come across)\b"
"""How I do it is not how I can."""
_TELL = (
    r"(?:(?:(?:can|could|would|will) you |please )?(?:please |kindly )?(?:tell me|let me know|explain(?: to me)?|show me)|"
    r"i(?:'d| would) like to (?:know|understand)|i (?:want|need) to know|i was wondering|i wonder|do you know)"
)
_TOLD = "tell|let me|explain|show|know|wonder|understand"
_CLAUSE = (
    "when|whenever|if|unless|while|after|before|because|since|until|although|though|in|on|at|as|during|within|despite"
)
_TWO = (
    r"\w+ [^\n]*\b(?:that|who|whom|whose|which|what|whether|if|when|why|how|to|say|said|says|tell|told|ask|asked|think|and|"
    rf"but|or)\b|[^\n]*\b(?:{_PERSON})\b[^\n]*\b(?:{_PERSON})\b"
)
"""Has more than one clause: what stands behind belongs to the last of them, what stands in front to the first."""


@dataclass(frozen=True, slots=True)
class _Form:
    """`pattern` is looked for only where one of the `signs` is in the text, in lower case: most texts have few."""

    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    put: str


def _forms(*given: tuple[str, str, str]) -> tuple[_Form, ...]:
    return tuple(_Form(tuple(signs.split("|")), re.compile(f"(?i){pattern}"), put) for signs, pattern, put in given)


_PHRASES = _forms(
    ("year|yoy", r"\b(?:year[- ](?:on|over)[- ]year|yoy)\b", "yoy"), ("executive", r"\bexecutive summary\b", "summary"),
    ("sign|log", r"\b(?:sign(?:ing)?[- ]?in(?:to)?|log(?:ging)?[- ]?in(?:to)?|log(?:ging)?[- ]?on)\b", "login"),
    ("up", r"\bset(?:ting)?[- ]up\b", "configure"), ("up", r"\bsign(?:ing)? ?up\b", "register"),
    (" rid ", r"\bget(?:ting)? rid of\b", "delete"), ("find", r"\bfind(?:ing)? out\b", "find"),
    (" out", r"\bcarry(?:ing)? out\b", "execute"), ("up", r"\btop(?:ping|ped)?[- ]?up\b", "topup"),
    ("show", r"\b(show(?:s|n|ed|ing)?) up\b", r"\1"), ("have got", r"\bhave got\b", "have"), ("'s", r"\b(what|how)'s\b", r"\1 is"),
    ("utili|employing|by means", r"\b(?:utili[sz]ing|employing|by means of)\b", "using"),
    (" of ", r"\bwhat (?:sort|kind|type)s? of\b", "what"), ("seem to", r"\b(can(?:'t|not| not)) seem to\b", r"\1"),
    ("as well| too", r" (?:as well|too)(?=\s*[?.!]*\s*\Z)", ""),
    # one sentence that begins with its clause or phrase: when I paid, did it crash?
    (", ", rf"\A\s*((?:{_CLAUSE}) [^\n,.?!;:]{{2,80}}), (?!{_TWO})([^\n,.?!;:]{{2,120}})([.?!]*)\s*\Z", r"\2 \1\3"),
    # in order: whether I can, why it is
    (", why", r"\A([^\n.?!;:]{5,120}?), why(?: is that)?\s*\?\s*\Z", r"please tell me why \1"),
    ("if|whether", rf"\b{_TELL}(?<!let me know),? (?:if|whether) ({_PERSON}) ({_AUX})\b", r"\2 \1"),
    ("how come", r"\bhow come\b", "please tell me why"),
    (_TOLD, rf"\b{_TELL},? (why|where|how|what|which) ({_PERSON}) ((?:{_AUX})(?:n't)?|do(?:es)?n't|did(?:n't| not))\b", r"\1 \3 \2"),
    (_TOLD, rf"\b{_TELL},? (why|where) ((?:{_WHOSE}) (?:[\w-]+ ){{1,4}}?)((?:is|are|was|were|has|have|can|do|does|did)(?:n't| not)?)\b", r"\1 \3 \2"),
    ("possible", r"\b(?:is it|would it be) possible (?:for me )?to\b", "can i"),
    (" way ", r"\bis there (?:a|any) way (?:for me )?(?:to|i (?:can|could))\b", "can i"),
    ("able to", rf"\b(?:am|are|is) ({_PERSON}) (not )?able to\b(?! not\b)", r"can \1 \2"), ("able to", r"\bwould i be able to\b", "can i"),
    ("able to", rf"\b({_PERSON})(?: (?:am|are|is)|'(?:m|re|s)) (not )?able to\b(?! not\b)", r"\1 can \2"),
    ("unable to", rf"\b({_PERSON})(?: (?:am|are|is)|'(?:m|re|s)) unable to\b", r"\1 can not"),
    ("could", r"\A\s*could (i|we)\b(?! \w+ have\b| have\b)", r"can \1"),
    ("which", rf"\A\s*which (?!of\b|ones?\b|do\b|does\b|did\b|(?:{_AUX})\b)", "what "),
    ("help", r"(?:\A|(?<=[.?!] )|(?<=[.?!]))\s*(?:can you )?(?:please )?help(?: me)?(?: please)?\s*[.?!]+(?=\s|\Z)", " "),
)  # fmt: skip
"""For all that is compared."""
_APPROACH = re.compile(
    r"(?i)\b(?:(?:can|could|would|will) you (?:please |kindly )?(?:tell|show|help|explain|give)(?: to)? ?(?:me|us)?|please|kindly|"
    r"thanks?(?: you)?(?: very much| a lot| in advance)?|i(?:'d| would) like to (?:know|understand)|i want to know|do you know|"
    r"tell me|show me|let me know|i was wondering(?: if)?|i wonder)\b"
)
_RELATED = _forms(
    ("can", r"\b(?:can't|cannot)\b", "can not"), ("won't", r"\bwon't\b", "will not"), ("n't", r"n't\b", " not"),
    ("'re", r"'re\b", " are"), ("'ve", r"'ve\b", " have"), ("'ll", r"'ll\b", " will"), ("i'm", r"\bi'm\b", "i am"),
    ("let's", r"\blet's\b", "let us"), ("'d like", r"'d like\b", " would like"),
    ("'s", r"\b(what|how|where|who|when|why|it|that|there|here|he|she)'s\b", r"\1 is"),
    (" not", rf"\b(can|could|do|does|did|is|are|was|were|have|has|had|will|would|should) not ({_PERSON})\b", r"\1 \2 not"),
    (" not", rf"(\A\s*|\bwhy )(is|are|was|were|do|does|did|has|have|can|will) ((?:{_WHOSE}) (?:[\w-]+ ){{1,4}}?)not\b", r"\1\2 not \3"),
    ("how|way", rf"\bhow (?:do|can|could|would) i\b(?! {_SEEM})|\b(?:what is )?the way to\b", "how to"),
    ("how", r"\bhow should i\b", "how should"), ("where", rf"\bwhere (?:can|could) i\b(?! {_SEEM})", "where do i"),
    (" have ", r"\b(i|we|they) have (?=(?:\w{3,20}ed|lost|made|paid|sent|found|bought|sold)\b)", r"\1 "),
    (" been ", r"\bhave (i|we) been (?=\w+ed\b)", r"was \1 "), (" been ", r"\b(i|we) have been (?=\w+ed\b)", r"\1 was "),
    ("have to", r"\A(?!.*\b(?:how (?:long|much|many)|what|which|whose)\b)(.*?)\b(i|we|you|they) have to\b", r"\1\2 need to"),
    ("would like", r"\b(i|we) would like to\b", r"\1 want to"),
    ("know|tell", r"\A\s*(?:(?:can|could) you (?:please )?tell me|i (?:want|would like|need) to know|do you know)\b", " "),
    ("recommend|suggest", r"\bwhat (?:do|would) you (recommend|suggest)\b", r"what \1"),
    ("recommend|suggest", r"\bdo you (recommend|suggest)\b", r"\1"),
    ("explain|describe", r"\A\s*(?:explain|describe)\b(?: to me\b)?", " "),
    ("what", r"\bwhat ([^.?!\n]{2,80}?) (is|are)(?= about\b|\s*(?:[.?!]|\Z))", r"what \2 \1"),
    ("what", r"\A[\s,]*what (?:is|are)\b", " "),
)  # fmt: skip
"""For small words alone; of lower-case text, in this order."""


def phrased(prose: str) -> str:
    """Phrases and ways to ask in one form, of prose as written."""
    return _put(_PHRASES, prose)


def plain(prose: str) -> str:
    """Without what only says that something is asked: could you please tell me."""
    return _APPROACH.sub(" ", prose)


def related(prose: str) -> str:
    """In lower case, and contractions and ways to ask in one form."""
    return _put(_RELATED, prose.lower())


def _put(forms: tuple[_Form, ...], prose: str) -> str:
    lower = prose.lower()
    for form in forms:
        if any(sign in lower for sign in form.signs):
            found, count = form.pattern.subn(form.put, prose)
            if count:
                prose, lower = found, found.lower()
    return prose
