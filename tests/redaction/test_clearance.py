from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.redaction.clearance import Clearance
from mitmesh.redaction.search import Searcher
from mitmesh.rules import Pii, PiiModel, PiiPattern, PiiTerm
from redactions import shipped_pii

PROSE = (
    "Please write a function that reads a file line by line, counts its words, and sorts them by how often they come."
)


@pytest.fixture(scope="module")
def ours() -> Clearance:
    return Clearance(shipped_pii())


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    return Searcher(shipped_pii())


def test_most_of_what_people_write_is_cleared(ours: Clearance) -> None:
    """Prose and code with nothing in them need no worker: it would be of no use else."""
    assert ours.why_not == ""
    assert ours.clear(PROSE) and ours.clear(
        "for key, value in sorted(found.items()):\n    print(f'{key:>10} {value}')\n"
    )
    assert ours.clear("It’s 3 p.m. — “done”, see v1.2.3 and 550e8400-e29b")


FRAGMENTS = st.sampled_from(
    ["ann@example.com", "a%40b.example", "4111 1111 1111 1111", "+49 30 901820", "415-555-0123", "203.0.113.7",
     "DE89370400440532013000", "fe80::1", "https://x.example/", "www.firm.de", "firm.com", "visit acme.de", "ssn ",
     "123-45-6789", "phone ", "password = ", "hunter2hunter2!X9", "-p", "curl -u ", "joe:s3cr3t-Pa55", "key", "token",
     "Authorization: Basic ", "dXNlcjpodW50ZXIyOTk=", "AKIAIOSFODNN7EXAMPLQ", "=", ":",
     '"', " ", "\n", "\\n", "\u200b", "the ",
     "AWS_SECRET_ACCESS_KEY=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", "ENV A_TOKEN ", "sshpass -p ", "redis-cli -a ",
     "docker login -p ", "Cookie: sid=", "k3J9dLq0Zx7VbN2mR8tY", "my pw is ", "name: DB_PASSWORD, value: ",
     "IDENTIFIED BY '", "echo ", " | sudo -S ", "-pass pass:", "login joe / pass ", "password was set to ",
     "'", "(", ")",     "＠", "&#64;", "\\x40", "%2540", "–", "\0", "4111_1111_1111_1111", "是",
     "of words ", "0x", "_", "/", "é"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAGMENTS, max_size=8).map("".join))
def test_nothing_that_is_found_is_cleared(ours: Clearance, searcher: Searcher, text: str) -> None:
    """A text that is cleared is one in which the worker finds nothing."""
    assert not (ours.clear(text) and searcher.find(text))


def test_terms_and_patterns_of_the_operator() -> None:
    """They count as ours do, but for what is skipped."""
    pii = Pii(
        terms=[PiiTerm(id="t", words=["zeppelin"])],
        patterns=[PiiPattern(id="badge", type="BADGE", regex=r"\b[A-Z]\d{6}\b", context=["badge"])],
    )
    assert (
        not Clearance(pii).clear("a ZEPPELIN") and not Clearance(pii).clear("B123456") and Clearance(pii).clear(PROSE)
    )
    assert Clearance(pii.model_copy(update={"skip": ["TERM", "BADGE"]})).clear("a zeppelin, B12345")


@pytest.mark.parametrize(
    ("pii", "why"),
    [
        (
            Pii(patterns=[PiiPattern(id="twice", type="X", regex=r"(\w)\1{9}")]),
            "the pattern twice: RE2 has no groupref",
        ),
        (
            Pii(models=[PiiModel(id="names", name="en_core_web_sm", kind="spacy")]),
            "the model en_core_web_sm has to see every text",
        ),
    ],
)
def test_where_nothing_can_be_cleared(pii: Pii, why: str) -> None:
    """A model, or a pattern that RE2 cannot read: every text goes to a worker, and the log says why."""
    made = Clearance(pii)
    assert made.why_not == why and not made.clear(PROSE)
