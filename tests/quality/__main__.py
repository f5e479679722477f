"""`python -m quality`: measures, prints, judges."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mitmesh.redaction import search
from mitmesh.rules import load
from quality import measure, samples, secrets
from quality.measure import Score

ROOT = Path(__file__).parents[2]
NEVER = ROOT / "tests" / "redaction" / "data" / "never.txt"


def main(given: Sequence[str] | None = None) -> int:
    """The exit code: 0 all passed, 1 something is below what is asked, 2 no data, or none that can be read."""
    parser = argparse.ArgumentParser(prog="scripts/eval-redaction", add_help=False)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(given)
    if arguments.json and not arguments.json.parent.is_dir():
        return refuse(f"--json: there is no folder {arguments.json.parent}")
    use_shipped_rules()
    try:
        of_data = list(judge(arguments.data))
    except measure.Unreadable as error:
        return refuse(str(error))
    scores = [*of_data, *judge_ours()]
    if arguments.json:
        figures = [{**asdict(score), "passed": score.passed} for score in scores]
        for figure in figures:  # JSON has no number for it
            figure["value"] = None if math.isnan(figure["value"]) else figure["value"]
        try:
            arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
        except OSError as error:
            return refuse(f"--json: {error}")
    for score in scores:
        print(line(score))
    if not of_data:
        return refuse(f"{arguments.data} has none of the data")
    return 0 if all(score.passed for score in scores) else 1


def refuse(why: str) -> int:
    """The exit code where nothing can be judged; the reason is said in one line."""
    print(f"scripts/eval-redaction: {why}", file=sys.stderr)
    return 2


def use_shipped_rules() -> None:
    """The rules as shipped: what this machine's local/ says is not what is measured."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "rules"
        copy.mkdir()
        for file in (ROOT / "rules").glob("*.yaml"):
            shutil.copy(file, copy)
        search.use(load(copy).pii)


def judge(data: Path) -> Iterator[Score]:
    """Every figure there is data for."""
    find = search.find_now
    if files := sorted((data / "presidio-research").glob("*.json")):
        own = {score.name: score for score in measure.recalls(samples.emails(), find)}
        for score in measure.personal(files, find):
            if math.isnan(score.value) and not math.isnan(own[score.name].value):
                for name in (score.name, score.name.replace("recall", "precision")):
                    yield replace(own[name], name=f"{name}, samples of our own: the data has none")
            else:
                yield score
    if files := sorted((data / "gitleaks-cases").glob("*.jsonl")):
        yield from measure.secrets(files, find)
    banking = [text for file in sorted((data / "banking77").glob("*.csv")) for text in measure.rows(file)]
    notinject = [text for file in sorted((data / "notinject").glob("*.json")) for text in measure.prompts(file)]
    if banking or notinject:
        yield measure.false_alarms("banking77 and notinject", banking + notinject, find, most=1)


def judge_ours() -> Iterator[Score]:
    """What needs no data but our own."""
    find = search.find_now
    yield from measure.kinds(((kind, secrets.made(kind)) for kind in secrets.kinds()), find)
    yield measure.false_alarms("what is never flagged", measure.never(NEVER), find, most=0)


def line(score: Score) -> str:
    """A score as a line of the report."""
    asked = f"at least {score.least}" if score.least is not None else f"at most {score.most}"
    verdict = (
        ""
        if score.least is None and score.most is None
        else f"{asked:14} {'ok' if score.passed else 'UNKNOWN' if math.isnan(score.value) else 'BELOW'}"
    )
    return f"{score.name:52} {score.value:6.3f}  {score.detail:34} {verdict}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
