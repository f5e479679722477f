"""Code in a prompt, compared as code: the names of a Python function's own parameters do not count
where nobody speaks of them, all else does."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from contextlib import suppress

type Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

HERE = "\ue001"
"""Stands where a piece of code was in a line."""
FUNCTIONS = 20
"""Whose parameters are numbered; those of more keep their names."""
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_AS_WRITTEN = frozenset([tokenize.COMMENT, tokenize.NUMBER, tokenize.STRING, tokenize.FSTRING_START])
_NAME = re.compile(r"[^\W\d]\w*")
_FENCE = re.compile(r"```([\w+#.-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]{1,500})`(?!`)")
_FORM = re.compile(
    r"(?i)\b(?:renam|nam(?:e|ing)|param|arg(?:s|ument)|variab|readab|styl|lint|pep|clean|document|docstring|comment|format|"
    r"check|valid|syntax|spac|whitespace|indent|line|flake|ruff|black)"
)
"""What is asked about the code as it is written."""
_PYTHON = re.compile(r"(?m)\b((?:async )?def \w+\([^\n]*|class \w+[(:][^\n]*|lambda [\w, ]*:[^\n]*)")


def split(text: str) -> tuple[str, list[str], list[str]]:
    """The prose left over, the pieces of code in their order in canonical form, and the fences' languages."""
    pieces: list[str] = []
    languages: list[str] = []

    def fenced(found: re.Match[str]) -> str:
        if found[1]:
            languages.append(found[1].lower())
        pieces.append(found[2])
        return "\n"

    def inline(found: re.Match[str]) -> str:
        pieces.append(found[1])
        return HERE

    if "`" in text:
        text = _INLINE.sub(inline, _FENCE.sub(fenced, text))
    text = _PYTHON.sub(inline, text)
    if not pieces:
        return text, pieces, languages
    spoken = None if _FORM.search(text) else frozenset(_NAME.findall(text))
    return text, [canonical(each, spoken) for each in pieces], languages


def unfenced(text: str) -> str:
    """Without fenced code."""
    return _FENCE.sub("\n", text) if "`" in text else text


def canonical(code: str, spoken: frozenset[str] | None = frozenset()) -> str:
    """A Python function as its syntax tree with parameters numbered, and its comments, numbers and texts as written.
    Parameters that are `spoken` of keep their names. All else, and with None all, is each line with its indentation."""
    code = code.strip("\n").rstrip()
    if spoken is not None and _PYTHON.search(code):
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
            return _tree(code, spoken)
    return "\n".join(line.rstrip() for line in code.splitlines())


def _tree(code: str, spoken: frozenset[str]) -> str:
    with warnings.catch_warnings():  # the compiler's own would quote
        warnings.simplefilter("ignore")
        tree = ast.parse(code)
    written = [each.string for each in tokenize.generate_tokens(io.StringIO(code).readline) if each.type in _AS_WRITTEN]
    spoken = spoken.union(*(_NAME.findall(each) for each in written))
    for node in [each for each in ast.walk(tree) if isinstance(each, _FUNCTION)][:FUNCTIONS]:
        _number(node, spoken)
    return "\n".join([ast.dump(tree), *written])


def _number(function: Function, spoken: frozenset[str]) -> None:
    """Parameters by place instead of name. Names given by callers (keyword only, **) and shadowed ones stay."""
    given = [each for each in (*function.args.posonlyargs, *function.args.args) if each.arg not in spoken]
    numbers = {each.arg: f"parameter {n}" for n, each in enumerate(given)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id in numbers:
            node.id = numbers[node.id]
    for each in given:
        each.arg = numbers[each.arg]
