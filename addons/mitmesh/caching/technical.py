"""Does a text speak of code? Then a word may be a name, and a name is what is written: colour is not color.

Shared by layer 1 (normalise.py) and layer 2 (gate.py). When in doubt, it does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

from mitmesh.caching.lexicon import word_set

_NAMED = word_set(
    "attribute attributes property properties prop props variable variables var vars function functions method "
    "methods field fields column columns class classes param params parameter parameters arg args argument arguments "
    "key keys keyword keywords flag flags option options setting settings identifier identifiers constant constants "
    "enum enums struct structs interface interfaces module modules package packages library libraries namespace "
    "namespaces schema schemas table tables endpoint endpoints header headers selector selectors tag tags element "
    "elements component components hook hooks macro macros decorator decorators annotation annotations command "
    "commands script scripts branch branches file files filename filenames folder folders directory directories path "
    "paths operator operators alias aliases bucket buckets hostname hostnames username usernames"
)
"""What bears a name in code."""
_TALK = _NAMED | word_set(
    "classname css html xml json yaml yml toml csv sql latex regex regexp regexps regexes pattern patterns glob "
    "globs wildcard wildcards match matches matching markdown asterisk asterisks underscore underscores name "
    "names named naming parse parses parser parsed parsing strptime strftime code coding snippet snippets syntax "
    "string strings literal literals import imports imported grep sed awk bash shell python javascript typescript "
    "java kotlin golang rust ruby php perl swift react vue angular django flask rails pandas numpy matplotlib git "
    "docker kubectl npm pip api env repo repos repository repositories diff diffs program programs programming "
    "haskell scala elixir erlang clojure julia matlab fortran cobol powershell page pages theme themes return "
    "returns returned print prints undefined null vector vectors array arrays "
    "div divs span spans button buttons align aligned aligns alignment background backgrounds margin margins padding "
    "paddings font fonts border borders flexbox flex grid stylesheet stylesheets hover opacity navbar iframe img href "
    "svg canvas textbox checkbox dropdown sidebar tooltip placeholder layout layouts webpage website websites"
)
_TALK_BEGIN = ("renam", "compil", "lint", "config")
_SPACES = word_set(
    "space spaces spaced spacing spacer blank blanks tab tabs regex regexp regexps regexes pattern patterns character "
    "characters pad pads padded padding ascii diff diffs verbatim string strings length gap gaps distance distances "
    "separator separators separated delimiter delimiters delimited column columns trailing monospace monospaced "
    "justified typeset crlf lf cr eol ending endings carriage nbsp equal identical same differ differs different "
    "difference differences compare compares compared comparing grep duplicate duplicates"
)
_SPACES_BEGIN = ("whitespace", "indent", "tabulat", "newline", "linebreak", "align")
_CHARACTERS = word_set(
    "unicode utf nfc nfd nfkc nfkd codepoint codepoints code point points byte bytes encoding encoded encode ascii "
    "combining accent accents accented diacritic diacritics glyph glyphs grapheme graphemes hash hashes"
)
_CHARACTERS_BEGIN = ("normali",)
_WORDING = word_set(
    "word words mean means meaning noun nouns verb verbs adverb adverbs adjective adjectives plural singular "
    "tense letters syllable syllables prefix suffix idiom idioms phrase phrases term terms definition define "
    "english french german spanish italian portuguese dutch latin greek russian chinese japanese korean arabic "
    "polish backwards reverse reversed domain domains"
)
_WORDING_BEGIN = (
    *("rhym", "synonym", "antonym", "spell", "spelt", "translat", "pronounc", "etymolog", "grammar", "anagram"),
    *("acrost", "alphabet", "hashtag", "scrabble", "crossword", "hangman"),
)
_TOOLS = word_set(
    "git docker podman kubectl helm npm yarn pnpm npx pip pipx conda poetry cargo dotnet mvn gradle terraform aws "
    "gcloud apt brew dnf yum systemctl journalctl svn gh tmux rails artisan flutter adb"
)
"""Programs; the next word may be a command of theirs."""
_BESIDE = _NAMED | _TOOLS | word_set("named called titled")
_QUALITIES = frozenset(["variable", "constant", "key"])
_ARTICLES = word_set("a an the this that my your our its no each every of in")
"""`handling variable traffic` names nothing, `the colour variable` does."""
MARK = "qz"
"""Begins a word that stands for what is compared as a fact; it has its name already: `the f function acts`."""
_LOWER = re.compile(r"[a-z]+")
_WORDS = re.compile(r"([^\w'’-]*)([\w'’-]+)")


def talks_of_code(text: str) -> bool:
    """Are there words that are said of code, of its names, or of texts as patterns and data?"""
    return _speaks(text, _TALK, _TALK_BEGIN)


def talks_of_spaces(text: str) -> bool:
    """May a space more or less be what the text is about?"""
    return _speaks(text, _SPACES, _SPACES_BEGIN)


def talks_of_characters(text: str) -> bool:
    """May it be about how a letter is made up?"""
    return _speaks(text, _CHARACTERS, _CHARACTERS_BEGIN)


def talks_of_words(text: str) -> bool:
    """May the words be what the text is about, so that no other will do, however alike?"""
    return _speaks(text, _WORDING, _WORDING_BEGIN)


def are_words_about_words(words: Iterable[str]) -> bool:
    """The same of a text's words, in lower case."""
    return _speak(set(words), _WORDING, _WORDING_BEGIN)


def _speaks(text: str, words: Set[str], begin: tuple[str, ...]) -> bool:
    return _speak(set(_LOWER.findall(text.lower())), words, begin)


def _speak(found: set[str], words: Set[str], begin: tuple[str, ...]) -> bool:
    return not found.isdisjoint(words) or any(each.startswith(begin) for each in found)


def named(text: str, its_words: Iterable[str], known: Set[str]) -> frozenset[str]:
    """Likely names, as written: the words right beside `attribute`, `table` and their like, and after a program's, of a
    text with `its_words` in lower case. Not those of `known` (in lower case), which name nothing; the text's first word
    without its capital."""
    if _BESIDE.isdisjoint(its_words):
        return frozenset()
    words = _WORDS.findall(text)
    lower = [word.lower() for _, word in words]
    if not words:
        return frozenset()
    found: set[str] = set()
    for n in range(1, len(words)):
        (gap, word), before = words[n], lower[n - 2] if n > 1 else "the"
        if gap != " " or (lower[n] in _QUALITIES and before not in _ARTICLES):
            continue
        if lower[n - 1] in _BESIDE and not (n > 1 and (words[n - 1][0] != " " or lower[n - 2].startswith(MARK))):
            found.add(word)
        if lower[n] in _NAMED:
            found.add(words[n - 1][1])
    if words[0][1] in found:
        found = found - {words[0][1]} | {lower[0]}
    return frozenset(each for each in found if each.lower() not in known and each not in _NAMED)
