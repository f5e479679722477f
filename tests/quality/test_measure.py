from __future__ import annotations

import base64
import json
from pathlib import Path

from mitmesh.redaction.findings import Finding
from quality import measure
from quality.__main__ import line
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
    assert all(other.passed and line(other).rpartition("  ")[0].find("NOT MEASURED") > 0 for other in others)


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
