"""`python -m matching`: what scripts/eval-cache runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from matching import corpus, measure
from matching.corpus import Corpus
from matching.measure import Figure

ROOT = Path(__file__).parents[2]


def main() -> int:
    """The exit code: 0 all passed, 1 something is below what is asked, 2 no data."""
    parser = argparse.ArgumentParser(prog="scripts/eval-cache", add_help=False)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--pairs", type=Path, action="append", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        given = [(file.name, corpus.pairs(file)) for file in options.pairs]
    except (OSError, ValueError) as error:
        print(f"eval-cache: {error}", file=sys.stderr)
        return 2
    figures = []
    for figure in measured(options.data, given):
        figures.append(figure)
        print(line(figure), flush=True)
    if options.json:
        rows = [{**asdict(each), "passed": each.passed} for each in figures]
        options.json.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    if not given and not any(each.name.startswith(("agentmesh", "banking77", "gptcache")) for each in figures):
        print(f"eval-cache: {options.data} has none of the data", file=sys.stderr)
        return 2
    return 0 if all(each.passed for each in figures) else 1


def measured(data: Path, given: list[tuple[str, list[dict[str, object]]]]) -> Iterator[Figure]:
    """Every figure there is data for; the pairs given first."""
    for name, rows in [*given, ("minimal pairs", corpus.pairs())]:
        known = Corpus.of(str(row[side]) for row in rows for side in ("a", "b"))
        yield from measure.by_pairs(rows, known, name)
    for folder, figures in (
        ("agentmesh-benchmark", measure.benchmark),
        ("gptcache-mock", measure.statements),
        ("banking77", measure.intents),
    ):
        if (data / folder).is_dir():
            yield from figures(data)


def line(figure: Figure) -> str:
    """A figure as a line of the report, wrong answers under it."""
    asked = "" if figure.passed and figure.least is None and figure.most is None else (
        f"at least {figure.least}" if figure.least is not None else f"at most {figure.most}"
    ) + (" ok" if figure.passed else " BELOW")  # fmt: skip
    rows = [f"{figure.name:48} {figure.value:8.3f}  {asked:18} {figure.detail}".rstrip()]
    rows += [f"    {a!r} got the answer to {b!r}" for a, b in figure.wrong[:10]]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
