"""Does a text speak of code? Then a word may be a name, and a name is what is written: colour is not color.

Shared by layer 1 (normalise.py) and layer 2 (gate.py). When in doubt, it does."""

from __future__ import annotations

import re
from collections.abc import Set

_NOUN = (
    r"attributes?|propert(?:y|ies)|props?|variables?|vars?|functions?|methods?|fields?|columns?|class(?:es)?|"
    r"param(?:eter)?s?|arg(?:ument)?s?|keys?|keywords?|flags?|options?|settings?|identifiers?|constants?|enums?|structs?|"
    r"interfaces?|modules?|packages?|librar(?:y|ies)|namespaces?|schemas?|tables?|endpoints?|headers?|selectors?|tags?|"
    r"elements?|components?|hooks?|macros?|decorators?|annotations?|commands?|scripts?|branch(?:es)?|files?|filenames?|"
    r"folders?|director(?:y|ies)|paths?|operators?|alias(?:es)?|buckets?|hostnames?|usernames?"
)
"""What bears a name in code."""
_NAMED = re.compile(rf"(?i){_NOUN}")
_TALK = re.compile(
    rf"(?i)\b(?:{_NOUN}|classname|css|html|xml|json|yaml|yml|toml|csv|sql|latex|regexp?s?|regexes|patterns?|globs?|"
    r"wildcards?|match(?:es|ing)?|markdown|asterisks?|underscores?|renam\w*|nam(?:e|es|ed|ing)|call(?:ed)? it|pars(?:e|es|er|ed|ing)|"
    r"strptime|strftime|cod(?:e|ing)|snippets?|syntax|strings?|literals?|compil\w*|lint\w*|import(?:s|ed)?|grep|sed|awk|bash|"
    r"shell|python|javascript|typescript|java|kotlin|golang|rust|ruby|php|perl|swift|react|vue|angular|django|flask|rails|"
    r"pandas|numpy|matplotlib|git|docker|kubectl|npm|pip|api|env|config\w*)\b"
)
_SPACES = re.compile(
    r"(?i)\b(?:spac(?:e|es|ed|ing)|whitespaces?|blanks?|indent\w*|tabs?|tabulat\w*|regexp?s?|regexes|patterns?|characters?|"
    r"newlines?|line ?breaks?|align\w*|pad(?:s|ded|ding)?|ascii|diffs?|verbatim|strings?|length)\b"
)
_TOOLS = frozenset(
    "git docker podman kubectl helm npm yarn pnpm npx pip pipx uv conda poetry cargo go dotnet mvn gradle terraform aws "
    "gcloud az apt brew dnf yum systemctl journalctl service svn hg gh tmux make redis rails artisan flutter adb".split()
)
"""Programs; the next word may be a command of theirs."""
_WORDS = re.compile(r"([^\w'’-]*)([\w'’-]+)")


def talks_of_code(text: str) -> bool:
    """Are there words that are said of code, of its names, or of texts as patterns and data?"""
    return bool(_TALK.search(text))


def talks_of_spaces(text: str) -> bool:
    """May a space more or less be what the text is about?"""
    return bool(_SPACES.search(text))


def named(text: str, known: Set[str]) -> frozenset[str]:
    """Likely names, as written: the words right beside `attribute`, `table` and their like, and after a program's. Not
    those of `known` (in lower case), which name nothing; the text's first word without its capital."""
    words = _WORDS.findall(text)
    found: set[str] = set()
    for (_, one), (gap, other) in zip(words, words[1:], strict=False):
        if gap.isspace():
            if _NAMED.fullmatch(one) or one.lower() in _TOOLS:
                found.add(other)
            if _NAMED.fullmatch(other):
                found.add(one)
    if words and (first := words[0][1]) in found:
        found = found - {first} | {first.lower()}
    return frozenset(each for each in found if each.lower() not in known and not _NAMED.fullmatch(each))
