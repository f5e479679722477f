from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mitmesh.redaction.findings import Finding
from mitmesh.redaction.secrets import Patterns
from quality import measure, secrets
from quality.__main__ import judge, line, main
from quality.measure import Score
from redactions import shipped_pii


def at_signs(text: str) -> list[Finding]:
    """Every @ is an email, every ! a secret."""
    kinds = {"@": "EMAIL", "!": "SECRET"}
    return [Finding(i, i + 1, kinds[c], c, 1.0) for i, c in enumerate(text) if c in kinds]


def test_personal(tmp_path: Path) -> None:
    """A span is found where a finding of its type overlaps it; what overlaps none is a false alarm."""
    span = {"entity_type": "EMAIL_ADDRESS", "start_position": 0, "end_position": 3}
    name = {"entity_type": "PERSON", "start_position": 0, "end_position": 3}
    records = [
        {"full_text": "a@b c@d", "spans": [span, name]},
        {"full_text": "abc", "spans": [span]},
        {"full_text": "a!b", "spans": [span]},
    ]
    (tmp_path / "x.json").write_text(json.dumps(records))
    score, precision, *others = sorted(
        measure.personal([tmp_path / "x.json"], at_signs), key=lambda each: "EMAIL" not in each.name
    )
    assert score == Score("recall EMAIL", 1 / 3, "1 of 3", least=0.95)
    assert precision == Score("precision EMAIL", 0.5, "1 wrong", least=0.75)
    assert not score.passed and "BELOW" in line(score) and not precision.passed
    assert len(others) == len(set(measure.LABELS.values())) - 1
    assert not any(other.passed for other in others)  # what was not measured passes nothing
    assert all("NOT MEASURED" in line(other) and line(other).endswith("UNKNOWN") for other in others)


def test_secrets(tmp_path: Path) -> None:
    """Recall and false alarms; a bare file name is not judged, and counted beside. An email is no secret."""
    cases = [("a!", True), ("a@", True), ("b!", False), ("c", False), ("some/file.yaml", True)]
    rows = [{"label": label, "text_b64": base64.b64encode(text.encode()).decode()} for text, label in cases]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recall, alarms, all_recall, all_alarms = measure.secrets([tmp_path / "x.jsonl"], at_signs)
    assert (recall.value, alarms.value, all_recall.value, all_alarms.value) == (0.5, 0.5, 1 / 3, 0.5)
    assert not any(score.passed for score in (recall, alarms, all_recall, all_alarms))


def test_false_alarms() -> None:
    """Texts with anything found, per 1,000."""
    score = measure.false_alarms("x", ["a", "b@", "c"], at_signs, most=333)
    assert round(score.value) == 333 and not score.passed
    assert measure.false_alarms("x", [], at_signs, most=0).passed
    assert line(score).endswith("BELOW")


def test_files(tmp_path: Path) -> None:
    """Texts as the data sets keep them."""
    (tmp_path / "a.csv").write_text('text,category\n"a, b",x\n')
    (tmp_path / "a.json").write_text('[{"prompt": "p"}]')
    (tmp_path / "a.txt").write_text("# heading\n#no heading\n\nx\n")
    assert measure.rows(tmp_path / "a.csv") == ["a, b"]
    assert measure.prompts(tmp_path / "a.json") == ["p"]
    assert measure.never(tmp_path / "a.txt") == ["#no heading", "x"]


def test_our_own_samples_stand_in(tmp_path: Path) -> None:
    """Only for a type the data has none of, and by a name that says so."""
    folder = tmp_path / "presidio-research"
    folder.mkdir()
    (folder / "a.json").write_text("[]")
    names = {score.name: score for score in judge(tmp_path)}
    email = names["recall EMAIL, samples of our own: the data has none"]
    assert email.passed and email.value > 0.95 and "recall EMAIL" not in names
    assert names["precision EMAIL, samples of our own: the data has none"].passed
    assert not names["recall CARD"].passed
    span = {"entity_type": "EMAIL_ADDRESS", "start_position": 0, "end_position": 3}
    (folder / "a.json").write_text(json.dumps([{"full_text": "a b", "spans": [span]}]))
    assert {score.name: score.value for score in judge(tmp_path)}["recall EMAIL"] == 0


def test_kinds() -> None:
    """Found is what is found whole; the least found kind is told, and one below its floor has a line of its own."""
    samples = [("good", [("k=a!", "!"), ("k=!b", "!")]), ("bad", [("k=!", "!"), ("k=ab", "ab")])]
    every, least, bad = measure.kinds(samples, at_signs)
    assert (every.value, every.detail) == (0.75, "3 of 4") and not every.passed
    assert (least.name, least.value, least.passed) == ("the least found of 2 kinds: bad", 0.5, False)
    assert bad == Score("recall bad", 0.5, "1 of 2", least=0.85)
    assert len(measure.kinds(samples[:1], at_signs)) == 2


@pytest.mark.parametrize("lost", ["assigned", "command-option", "session-cookie", "set-by-command", "named"])
def test_a_lost_rule_is_noticed(lost: str) -> None:
    """Without any one of the rules for secrets that no issuer marks, something is below what is asked."""
    for rules, passed in ((None, True), (lost, False)):
        find = Patterns([rule for rule in shipped_pii().patterns if rule.id != rules]).find
        scores = measure.kinds(((kind, secrets.made(kind)) for kind in secrets.kinds()), find)
        assert all(score.passed for score in scores) is passed


@pytest.mark.parametrize(
    ("file", "text"),
    [("gitleaks-cases/a.jsonl", '{"a'), ("gitleaks-cases/a.jsonl", "{}"), ("gitleaks-cases/a.jsonl", "[1]"),
     ("presidio-research/a.json", "{"), ("presidio-research/a.json", '[{"full_text": "a"}]'),
     ("notinject/a.json", "1"), ("banking77/a.csv", "a,b\n1,2\n")],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str) -> None:
    """Broken data end in one line that names the file, and in an exit code of its own."""
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(text)
    assert main(["--data", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and file in said.err and said.out == ""


def test_where_nothing_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there is told of before anything is measured."""
    assert main(["--json", str(tmp_path / "none" / "a.json")]) == 2
    assert capsys.readouterr().err == f"scripts/eval-redaction: --json: there is no folder {tmp_path / 'none'}\n"
    assert main(["--data", str(tmp_path)]) == 2 and "has none of the data" in capsys.readouterr().err
