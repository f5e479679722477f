from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.nesting import Nesting
from mitmesh.redaction.placeholders import Names, Table, literals

TABLE = Table({"EMAIL_1": "ann@example.com", "EMAIL_10": "bob@example.com", "PERSON_1": 'Ann "A" O\\Neil\n'})
FORMS = [("<", ">"), ("\\u003c", "\\u003e"), ("\\u003C", "\\u003E"), ("\\\\u003c", "\\\\u003e")]


def test_numbers_per_type() -> None:
    """Each type counts for itself, and a value has one name."""
    names = Names()
    assert [names.of("EMAIL", "a"), names.of("PHONE", "b"), names.of("EMAIL", "c"), names.of("EMAIL", "a")] == [
        "EMAIL_1", "PHONE_1", "EMAIL_2", "EMAIL_1",
    ]  # fmt: skip


def test_known_names_stay() -> None:
    """What an earlier call named keeps its name, and new values come after it."""
    names = Names({"EMAIL_3": "a", "DATE_OF_BIRTH_2": "d"})
    assert (names.of("EMAIL", "a"), names.of("EMAIL", "b"), names.of("DATE_OF_BIRTH", "e")) == (
        "EMAIL_3", "EMAIL_4", "DATE_OF_BIRTH_3",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "restored"),
    [
        ("<EMAIL_1>", "ann@example.com"),
        ("<EMAIL_10><EMAIL_1>", "bob@example.comann@example.com"),  # names that begin alike (Kong 3.12)
        ("<EMAIL_2> <email_1> < EMAIL_1> EMAIL_1", "<EMAIL_2> <email_1> < EMAIL_1> EMAIL_1"),
        ("<EMAIL_", "<EMAIL_"),  # a truncated one is nobody's address
        ("<EMAIL_1", "<EMAIL_1"),
        ("\\u003cEMAIL_1\\u003e", "ann@example.com"),
        ("\\u003cEMAIL\\u005f1\\u003e", "ann@example.com"),
        ("\\\\u003CEMAIL\\\\u005F1\\\\u003E", "ann@example.com"),
        ("\\u003cEMAIL\\\\u005f1\\u003e", "\\u003cEMAIL\\\\u005f1\\u003e"),  # not one escape
        ("<PERSON_1>", 'Ann "A" O\\Neil\n'),
        ("\\u003cPERSON_1\\u003e", 'Ann \\"A\\" O\\\\Neil\\n'),
    ],
)
def test_restore(said: str, restored: str) -> None:
    """Only a whole placeholder of this call is restored."""
    assert TABLE.restore(said) == restored


@pytest.mark.parametrize(("left", "right"), FORMS[:3])
def test_restore_in_json(left: str, right: str) -> None:
    """Within JSON a value is escaped, so that the document says exactly the value."""
    said = f'{{"to": "{left}PERSON_1{right}"}}'
    assert json.loads(TABLE.restore(said, Nesting())) == {"to": TABLE.values["PERSON_1"]}


def test_restore_in_json_in_json() -> None:
    """So it is in JSON within JSON."""
    inner = json.dumps({"to": "<PERSON_1>"}).replace("<", "\\u003c").replace(">", "\\u003e")
    said = json.dumps({"body": inner})
    assert json.loads(json.loads(TABLE.restore(said, Nesting()))["body"]) == {"to": TABLE.values["PERSON_1"]}


@pytest.mark.parametrize(("left", "right"), FORMS)
@pytest.mark.parametrize("name", ["EMAIL_1", "EMAIL_10"])
def test_held(left: str, right: str, name: str) -> None:
    """Exactly the proper prefixes of a placeholder of this call are held back."""
    escaped = left.replace("3C", "5F").replace("3c", "5f")
    for form in (left + name + right, left + name.replace("_", escaped if left != "<" else "_") + right):
        for cut in range(1, len(form)):
            assert TABLE.held("text " + form[:cut]) == cut
        assert TABLE.held("text " + form) == 0


@pytest.mark.parametrize("text", ["", "a", "<b", "<EMAIL_2", "<EMAIL_11", "<X", "x < y", "<EMAIL_1 ", "\\n", "<EMAIL-"])
def test_not_held(text: str) -> None:
    """Nothing else is: a stream does not wait for what cannot come."""
    assert TABLE.held(text) == 0


def test_literals() -> None:
    """What looks like a placeholder is seen in each form, and nothing else."""
    text = r"<EMAIL_1> \u003cX_2\u003e <a_1> <EMAIL> List<INT> <EMAIL_1"
    assert [text[a:b] for a, b in literals(text)] == ["<EMAIL_1>", r"\u003cX_2\u003e"]


@given(
    st.lists(
        st.sampled_from(
            ["<", "EMAIL_1", "EMAIL_10", ">", "\\u003c", "EMAIL\\u005f1", "\\u003e", "\\", "u003c", " ", "x"]
        )
    )
)
def test_cut_anywhere(pieces: list[str]) -> None:
    """Holding back and restoring piece by piece says the same as restoring the whole."""
    held, out = "", []
    for piece in pieces:
        text = held + piece
        keep = TABLE.held(text)
        held, text = text[len(text) - keep :], text[: len(text) - keep]
        out.append(TABLE.restore(text))
    assert "".join(out) + held == TABLE.restore("".join(pieces))
