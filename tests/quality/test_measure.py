from __future__ import annotations

import base64
import json
from pathlib import Path

from mitmesh.redaction.findings import Finding
from quality import measure
from quality.__main__ import judge, line
from quality.measure import Score


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
    score, *others = sorted(
        measure.personal([tmp_path / "x.json"], at_signs), key=lambda each: "EMAIL" not in each.name
    )
    assert score == Score("recall EMAIL", 1 / 3, "1 of 3; precision 0.500", least=0.95)
    assert not score.passed and "BELOW" in line(score)
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
    assert not recall.passed and not alarms.passed and all_recall.passed and all_alarms.passed


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
    assert not names["recall CARD"].passed
    span = {"entity_type": "EMAIL_ADDRESS", "start_position": 0, "end_position": 3}
    (folder / "a.json").write_text(json.dumps([{"full_text": "a b", "spans": [span]}]))
    assert {score.name: score.value for score in judge(tmp_path)}["recall EMAIL"] == 0
