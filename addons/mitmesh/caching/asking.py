"""Ways to ask and to say that mean the same, put into one form before the words of two prompts are compared.

Each pattern is one for which tests/caching/data/pairs.jsonl has neighbours that mean something else."""

from __future__ import annotations

import re

_PERSON = "i|we|you|they|he|she|it|there"
_AUX = "am|is|are|was|were|can|could|should|will|would|have|has|had|may|might"
_WHOSE = "my|your|our|his|her|their|the|this|an?"
_TELL = (
    r"(?:(?:(?:can|could|would|will) you |please )?(?:please |kindly )?(?:tell me|let me know|explain(?: to me)?|show me)|"
    r"i(?:'d| would) like to (?:know|understand)|i (?:want|need) to know|i was wondering|i wonder|do you know)"
)
_CLAUSE = (
    "when|whenever|if|unless|while|after|before|because|since|until|although|though|"
    "in|with|for|on|at|as|during|within|without|despite"
)


def _forms(*given: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(f"(?i){pattern}"), put) for pattern, put in given)


_PHRASES = _forms(
    (r"\b(?:year[- ](?:on|over)[- ]year|yoy)\b", "yoy"), (r"\bexecutive summary\b", "summary"),
    (r"\b(?:sign(?:ing)?[- ]?in(?:to)?|log(?:ging)?[- ]?in(?:to)?|log(?:ging)?[- ]?on)\b", "login"),
    (r"\bset(?:ting)?[- ]up\b", "configure"), (r"\bsign(?:ing)? ?up\b", "register"),
    (r"\bget(?:ting)? rid of\b", "delete"), (r"\bfind(?:ing)? out\b", "find"), (r"\bcarry(?:ing)? out\b", "execute"),
    (r"\btop(?:ping|ped)?[- ]?up\b", "topup"), (r"\b(show(?:s|n|ed|ing)?) up\b", r"\1"), (r"\bhave got\b", "have"),
    (r"\b(what|how)'s\b", r"\1 is"), (r"\b(?:using|utili[sz]ing|employing|by means of)\b", "with"),
    (r"\bwhat (?:sort|kind|type)s? of\b", "what"), (r"\b(can(?:'t|not| not)) seem to\b", r"\1"),
    (r" (?:as well|too)(?=\s*[?.!]*\s*\Z)", ""),
    # one sentence that begins with its clause or phrase: when I paid, did it crash?
    (rf"\A\s*((?:{_CLAUSE}) [^\n,.?!;:]{{2,80}}), ([^\n,.?!;:]{{2,120}})([.?!]*)\s*\Z", r"\2 \1\3"),
    # in order: whether I can, why it is
    (r"\A([^\n.?!;:]{5,120}?),? why(?: is that)?\s*\?\s*\Z", r"please tell me why \1"),
    (rf"\b{_TELL},? (?:if|whether) ({_PERSON}) ({_AUX})\b", r"\2 \1"), (r"\bhow come\b", "please tell me why"),
    (rf"\b{_TELL},? (why|where|how|what|which) ({_PERSON}) ((?:{_AUX})(?:n't)?|do(?:es)?n't|did(?:n't| not))\b", r"\1 \3 \2"),
    (rf"\b{_TELL},? (why|where) ((?:{_WHOSE}) (?:[\w-]+ ){{1,4}}?)((?:is|are|was|were|has|have|can|do|does|did)(?:n't| not)?)\b", r"\1 \3 \2"),
    (r"\b(?:is it|would it be) possible (?:for me )?to\b|\bis there (?:a|any) way (?:for me )?(?:to|i (?:can|could))\b", "can i"),
    (rf"\b(?:am|are|is) ({_PERSON}) (not )?able to\b(?! not\b)", r"can \1 \2"), (r"\bwould i be able to\b", "can i"),
    (rf"\b({_PERSON})(?: (?:am|are|is)|'(?:m|re|s)) (not )?able to\b(?! not\b)", r"\1 can \2"),
    (rf"\b({_PERSON})(?: (?:am|are|is)|'(?:m|re|s)) unable to\b", r"\1 can not"),
    (r"\A\s*could (i|we)\b(?! \w+ have\b| have\b)", r"can \1"),
    (r"\A\s*which (?!of\b|ones?\b|is\b|are\b|was\b|were\b)", "what "),
    (r"(?:\A|(?<=[.?!] )|(?<=[.?!]))\s*(?:can you )?(?:please )?help(?: me)?(?: please)?\s*[.?!]+(?=\s|\Z)", " "),
)  # fmt: skip
"""For all that is compared."""
_APPROACH = re.compile(
    r"(?i)\b(?:(?:can|could|would|will) you (?:please |kindly )?(?:tell|show|help|explain|give)(?: to)? ?(?:me|us)?|please|kindly|"
    r"thanks?(?: you)?(?: very much| a lot| in advance)?|i(?:'d| would) like to (?:know|understand)|i want to know|do you know|"
    r"tell me|show me|let me know|i was wondering(?: if)?|i wonder)\b"
)
_RELATED = _forms(
    (r"\b(?:can't|cannot)\b", "can not"), (r"\bwon't\b", "will not"), (r"n't\b", " not"), (r"'re\b", " are"), (r"'ve\b", " have"),
    (r"'ll\b", " will"), (r"\bi'm\b", "i am"), (r"\blet's\b", "let us"), (r"'d like\b", " would like"),
    (r"\b(what|how|where|who|when|why|it|that|there|here|he|she)'s\b", r"\1 is"),
    (rf"\b(can|could|do|does|did|is|are|was|were|have|has|had|will|would|should) not ({_PERSON})\b", r"\1 \2 not"),
    (rf"(\A\s*|\bwhy )(is|are|was|were|do|does|did|has|have|can|will) ((?:{_WHOSE}) (?:[\w-]+ ){{1,4}}?)not\b", r"\1\2 not \3"),
    (r"\bhow (?:do|can|could|would) i\b|\b(?:what is )?the way to\b", "how to"),
    (r"\bhow should i\b", "how should"), (r"\bwhere (?:can|could) i\b", "where do i"),
    (r"\b(i|we|they) have (?=(?:\w{3,20}ed|lost|made|paid|sent|found|bought|sold)\b)", r"\1 "),
    (r"\bhave (i|we) been (?=\w+ed\b)", r"was \1 "), (r"\b(i|we) have been (?=\w+ed\b)", r"\1 was "),
    (r"\b(i|we|you|they) have to\b", r"\1 need to"), (r"\b(i|we) would like to\b", r"\1 want to"),
    (r"\A\s*(?:(?:can|could) you (?:please )?tell me|i (?:want|would like|need) to know|do you know)\b", " "),
    (r"\bwhat (?:do|would) you (recommend|suggest)\b", r"what \1"), (r"\bdo you (recommend|suggest)\b", r"\1"),
    (r"\A\s*(?:explain|describe)\b(?: to me\b)?", " "),
    (r"\bwhat ([^.?!\n]{2,80}?) (is|are)(?= about\b|\s*(?:[.?!]|\Z))", r"what \2 \1"), (r"\A[\s,]*what (?:is|are)\b", " "),
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


def _put(forms: tuple[tuple[re.Pattern[str], str], ...], prose: str) -> str:
    for pattern, put in forms:
        prose = pattern.sub(put, prose)
    return prose
