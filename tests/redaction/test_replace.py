from __future__ import annotations

import re
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mitmesh.dialects.base import Provenance, Text
from mitmesh.exchange import Identity
from mitmesh.redaction.findings import Finding
from mitmesh.redaction.placeholders import Names, Table
from mitmesh.redaction.policy import Policy
from mitmesh.redaction.replace import Redaction, as_read, redact, views_of
from redactions import rules

VALUES = ["Ann Lee", "ann@example.com", "example.com", "+49 170 1234567", "<EMAIL_1>", "x y z"]


def texts_of(*contents: str, is_json: bool = False) -> list[Text]:
    return [Text((n,), Provenance.USER, content, n, is_json) for n, content in enumerate(contents)]


def run(texts: list[Text], *found: tuple[int, int, int, str], names: Names | None = None, **pii: Any) -> Redaction:
    """Redact with these findings: index of the text, start, end, type."""
    findings: list[list[Finding]] = [[] for _ in texts]
    for index, start, end, kind in found:
        findings[index].append(Finding(start, end, kind, "r", 1.0))
    policy = Policy(rules(**pii), Identity(), "openai")
    return redact(texts, views_of(texts), findings, policy, names or Names(), lambda value: "0f")


def test_longer_value_first() -> None:
    """A value within another does not break it: the longer one is replaced as one."""
    result = run(texts_of("a@x.com x.com", "b a@x.com"), (0, 0, 7, "EMAIL"), (0, 8, 13, "DOMAIN"))
    assert result.sent == {0: "<EMAIL_1> <DOMAIN_1>", 1: "b <EMAIL_1>"}


def test_same_value_same_name() -> None:
    """A value found under two types has the name of the first."""
    result = run(texts_of("12345678", "12345678"), (0, 0, 8, "PHONE"), (1, 0, 8, "SSN"))
    assert result.sent == {0: "<PHONE_1>", 1: "<PHONE_1>"}


def test_short_values_stay_where_they_are() -> None:
    """A value of one or two characters is replaced where it was found, and not looked for elsewhere."""
    assert run(texts_of("Al", "Al"), (0, 0, 2, "PERSON")).sent == {0: "<PERSON_1>"}


def test_long_values_within_words() -> None:
    """A long value is replaced within a word too: a secret glued to others is a secret."""
    secret = "sk-0123456789abcdef"
    result = run(texts_of(secret, f"x{secret}y"), (0, 0, len(secret), "SECRET"))
    assert result.sent[1] == "x<SECRET_1>y"


def test_finding_across_json_strings() -> None:
    """A finding that crosses strings of JSON is cut, and its pieces are not looked for elsewhere."""
    texts = [*texts_of('["Ann", "Lee"]', is_json=True), *texts_of("Ann Lee", is_json=False)]
    result = run(texts, (0, 2, 12, "PERSON"))
    assert result.sent == {0: '["<PERSON_1>", "<PERSON_2>"]'}


def test_finding_meets_literal() -> None:
    """Nothing is left of a finding that only meets a literal placeholder."""
    text = "ab<X_1>cd"
    result = run(texts_of(text), (0, 0, 4, "A"), (0, 6, 9, "B"))
    assert result.sent[0] == "<A_1><LITERAL_1><B_1>"


@st.composite
def conversations(draw: st.DrawFn) -> list[str]:
    piece = st.sampled_from([*VALUES, " ", "word", ", ", "\n", "<"])
    return ["".join(draw(st.lists(piece, max_size=6))) for _ in range(draw(st.integers(1, 4)))]


@given(conversations())
def test_round_trip(contents: list[str]) -> None:
    """No value is left in what is sent, and restoring what is sent gives what the client wrote."""
    texts = texts_of(*contents)
    pattern = re.compile("ann@example\\.com|\\+49 170 1234567|Ann Lee")
    found = [(i, f.start(), f.end(), "V") for i, text in enumerate(contents) for f in pattern.finditer(text)]
    result = run(texts, *found)
    table = Table(result.table)
    for index, content in enumerate(contents):
        sent = result.sent.get(index, content)
        assert not pattern.search(sent)
        assert table.restore(sent) == content


@given(conversations(), conversations())
def test_prefix_is_stable(before: list[str], after: list[str]) -> None:
    """Texts that follow do not rename what was named before them."""
    pattern = re.compile("ann@example\\.com|example\\.com|\\+49 170 1234567|Ann Lee")

    def sent(contents: list[str]) -> list[str]:
        found = [(i, f.start(), f.end(), "V") for i, text in enumerate(contents) for f in pattern.finditer(text)]
        result = run(texts_of(*contents), *found)
        return [result.sent.get(index, content) for index, content in enumerate(contents)]

    assert sent(before + after)[: len(before)] == sent(before)


def test_as_read() -> None:
    """A finder sees JSON within a string without its escapes."""
    texts = texts_of(r'{"a":"b\u0040c"}', is_json=True)
    assert as_read(texts, views_of(texts)) == ['{"a":"b@c"}']


def test_many_values_take_linear_time() -> None:
    """A list of thousands of addresses is no reason to search the text thousands of times."""
    addresses = [f"user{number:05}@example.com" for number in range(5000)]
    texts = texts_of("\n".join(addresses))
    found = [(0, at, at + 21, "EMAIL") for at in range(0, 22 * 5000, 22)]
    began = time.process_time()
    assert run(texts, *found).sent[0].endswith("<EMAIL_4999>\n<EMAIL_5000>")
    assert time.process_time() - began < 2
