"""The figures: labelled texts against what is found in them. Knows no finder, only a function that finds."""

from __future__ import annotations

import base64
import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mitmesh.redaction.findings import Finding

type Find = Callable[[str], list[Finding]]

LABELS = {
    "EMAIL_ADDRESS": "EMAIL", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN", "US_SSN": "SSN", "IP_ADDRESS": "IP",
    "DOMAIN_NAME": "DOMAIN", "URL": "DOMAIN", "PHONE_NUMBER": "PHONE",
}  # fmt: skip
"""The data's labels, and what we call them. Names and places have no form: a model finds those."""
_SPAN = ("entity_type", "start_position", "end_position")
SECRETS = {"SECRET", "PRIVATE_KEY", "JWT", "CONNECTION_STRING"}
PRECISION = 0.75
_FILE_NAME = re.compile(r"[\w ./-]+\.(?:ya?ml|config|php|xml|html?|hcl|p12|pfx|properties|toml)", re.IGNORECASE)


class Unreadable(Exception):
    """A file of the data is not what it should be; the message says which, and why."""


@contextmanager
def reading(file: Path) -> Iterator[Path]:
    """Whatever goes wrong with this file is said as one."""
    try:
        yield file
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise Unreadable(f"{file}: {type(error).__name__}: {error}") from None


@dataclass(slots=True, frozen=True)
class Score:
    """One line of the report. `least` and `most` are what is asked of the value, either may be None."""

    name: str
    value: float
    detail: str
    least: float | None = None
    most: float | None = None

    @property
    def passed(self) -> bool:
        """Is it as good as it should be? What could not be measured (no number) is not, where something is asked."""
        if math.isnan(self.value):
            return self.least is None and self.most is None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


def personal(files: Sequence[Path], find: Find) -> list[Score]:
    """Recall and precision per type on texts with marked spans; a span counts as found where a finding of its type
    overlaps it."""
    return recalls([each for file in files for each in _marked(file)], find)


def _marked(file: Path) -> list[dict[str, Any]]:
    with reading(file):
        return [
            {
                "full_text": str(each["full_text"]),
                "spans": [{name: span[name] for name in _SPAN} for span in each["spans"]],
            }
            for each in json.loads(file.read_text())
        ]


def recalls(records: Sequence[dict[str, Any]], find: Find) -> list[Score]:
    """The same for records that were read."""
    hit, miss, wrong = Counter[str](), Counter[str](), Counter[str]()
    for record in records:
        found = find(record["full_text"])
        marked = [
            (span["start_position"], span["end_position"], LABELS[span["entity_type"]])
            for span in record["spans"]
            if span["entity_type"] in LABELS
        ]
        for start, end, kind in marked:
            seen = any(each.type == kind and each.start < end and start < each.end for each in found)
            (hit if seen else miss)[kind] += 1
        for each in found:
            if not any(each.type == kind and each.start < end and start < each.end for start, end, kind in marked):
                wrong[str(each.type)] += 1
    scores = []
    for kind in sorted(set(LABELS.values())):
        total = hit[kind] + miss[kind]
        if not total:
            scores.append(Score(f"recall {kind}", math.nan, "NOT MEASURED: no samples", least=_least(kind)))
            continue
        precision = hit[kind] / max(1, hit[kind] + wrong[kind])
        scores.append(Score(f"recall {kind}", hit[kind] / total, f"{hit[kind]} of {total}", least=_least(kind)))
        scores.append(Score(f"precision {kind}", precision, f"{wrong[kind]} wrong", least=PRECISION))
    return scores


def _least(kind: str) -> float:
    return 0.85 if kind == "PHONE" else 0.95


def secrets(files: Sequence[Path], find: Find) -> list[Score]:
    """Recall and rate of false alarms on cases that hold a secret or do not.

    The cases were taken out of gitleaks' tests as strings. Some are the names of files that the tests were to have
    read, and no text: they are left out of what is judged; the figures with them stand beside."""
    texts = [case for file in files for case in _cases(file)]
    results = [(text, label, any(each.type in SECRETS for each in find(text))) for text, label in texts]
    judged = [each for each in results if not _FILE_NAME.fullmatch(each[0])]
    recall, alarms, detail = _rates(judged)
    all_recall, all_alarms, all_detail = _rates(results)
    return [
        Score("recall SECRET", recall, detail[0], least=0.80),
        Score("false alarms SECRET", alarms, detail[1], most=0.12),
        Score("recall SECRET, file names too", all_recall, all_detail[0], least=0.70),
        Score("false alarms SECRET, file names too", all_alarms, all_detail[1], most=0.12),
    ]


def _cases(file: Path) -> list[tuple[str, bool]]:
    with reading(file):
        cases = [json.loads(line) for line in file.read_text().splitlines() if line]
        return [(base64.b64decode(case["text_b64"]).decode(errors="replace"), bool(case["label"])) for case in cases]


def kinds(samples: Iterable[tuple[str, Iterable[tuple[str, str]]]], find: Find) -> list[Score]:
    """Recall of secrets made for this, (kind, (text, secret)...): of all, of the kind that is found least, and of each
    that is found less often than it should be. A secret counts where all of it is found."""
    rates = {kind: [_whole(find(text), text, secret) for text, secret in made] for kind, made in samples}
    scores = [Score(f"recall {kind}", sum(seen) / len(seen), _of(seen), least=0.85) for kind, seen in rates.items()]
    every = [each for seen in rates.values() for each in seen]
    worst = min(scores, key=lambda score: score.value)
    return [
        Score("recall SECRET, samples of our own", sum(every) / len(every), _of(every), least=0.97),
        replace(worst, name=f"the least found of {len(scores)} kinds: {worst.name.removeprefix('recall ')}"),
        *(score for score in scores if not score.passed),
    ]


def _of(seen: Sequence[bool]) -> str:
    return f"{sum(seen)} of {len(seen)}"


def _whole(found: Sequence[Finding], text: str, secret: str) -> bool:
    start = text.rindex(secret)
    covered = {at for each in found for at in range(each.start, each.end)}
    return covered.issuperset(range(start, start + len(secret)))


def _rates(results: Sequence[tuple[str, bool, bool]]) -> tuple[float, float, tuple[str, str]]:
    count = Counter((label, seen) for _, label, seen in results)
    secret, other = count[True, True] + count[True, False], count[False, True] + count[False, False]
    detail = (f"{count[True, True]} of {secret}", f"{count[False, True]} of {other}")
    return count[True, True] / max(1, secret), count[False, True] / max(1, other), detail


def false_alarms(name: str, texts: Iterable[str], find: Find, most: float) -> Score:
    """Texts with anything found in them, per 1,000, where there is nothing to find."""
    counted = [bool(find(text)) for text in texts]
    rate = 1000 * sum(counted) / max(1, len(counted))
    return Score(f"false alarms {name}, per 1,000", rate, f"{sum(counted)} of {len(counted)}", most=most)


def rows(file: Path) -> list[str]:
    """The texts of banking77's CSV."""
    with reading(file), file.open(newline="") as lines:
        return [row["text"] for row in csv.DictReader(lines)]


def prompts(file: Path) -> list[str]:
    """The texts of NotInject's JSON."""
    with reading(file):
        return [str(record["prompt"]) for record in json.loads(file.read_text())]


def never(file: Path) -> list[str]:
    """The strings of the list, without its headings."""
    return [line for line in file.read_text().splitlines() if line and not line.startswith("# ")]
