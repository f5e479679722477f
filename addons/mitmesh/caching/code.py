"""Code in a prompt, compared as code: the names of a Python function's own parameters do not count, all else does."""

from __future__ import annotations

import ast
import re
import warnings

FUNCTIONS = 20
"""Whose parameters are numbered; those of more keep their names."""
_FENCE = re.compile(r"```([\w+#.-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]{1,500})`(?!`)")
_PYTHON = re.compile(r"(?m)\b((?:async )?def \w+\([^\n]*|class \w+[(:][^\n]*|lambda [\w, ]*:[^\n]*)")


def split(text: str) -> tuple[str, list[str], list[str]]:
    """The prose left over, the pieces of code in their order in canonical form, and the fences' languages."""
    pieces: list[str] = []
    languages: list[str] = []

    def fenced(found: re.Match[str]) -> str:
        if found[1]:
            languages.append(found[1].lower())
        pieces.append(canonical(found[2]))
        return "\n"

    def inline(found: re.Match[str]) -> str:
        pieces.append(canonical(found[1]))
        return " "

    text = _FENCE.sub(fenced, text)
    text = _INLINE.sub(inline, text)
    return _PYTHON.sub(inline, text), pieces, languages


def canonical(code: str) -> str:
    """Python as its syntax tree with parameters numbered; what does not parse keeps each line and its indentation."""
    try:
        with warnings.catch_warnings():  # the compiler's own would quote
            warnings.simplefilter("ignore")
            tree = ast.parse(code.strip())
        found = [
            each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        ]
        for node in found[:FUNCTIONS]:
            _number(node)
        return ast.dump(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "\n".join(line.rstrip() for line in code.strip("\n").splitlines())


def _number(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
    """Parameters by place instead of name. Names given by callers (keyword only, **) and shadowed ones stay."""
    given = [*function.args.posonlyargs, *function.args.args]
    numbers = {each.arg: f"parameter {n}" for n, each in enumerate(given)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id in numbers:
            node.id = numbers[node.id]
    for each in given:
        each.arg = numbers[each.arg]
