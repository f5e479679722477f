from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.redaction import personal, prefilter, search
from mitmesh.redaction.findings import Finding
from mitmesh.redaction.search import Searcher
from mitmesh.rules import Pii, PiiPattern, PiiTerm, load

ROOT = Path(__file__).parents[2]
NEVER = [
    line
    for line in (Path(__file__).parent / "data" / "never.txt").read_text().splitlines()
    if line and not line.startswith("# ")
]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    folder = tmp_path_factory.mktemp("shipped") / "rules"
    folder.mkdir()
    for name in ("hosts", "pii"):
        (folder / f"{name}.yaml").write_bytes((ROOT / "rules" / f"{name}.yaml").read_bytes())
    return Searcher(load(folder).pii)


def said(searcher: Searcher, text: str) -> list[tuple[str, str]]:
    return [(str(each.type), text[each.start : each.end]) for each in searcher.find(text)]


def test_the_list_is_long_enough() -> None:
    """At least 200 strings, no two the same."""
    assert len(NEVER) >= 200 and len(set(NEVER)) == len(NEVER)


@pytest.mark.parametrize("carrier", ["{}", "Look at {} and tell me more.", "```\n{}\n```", '{{\n  "a": "{}",\n}}'])
def test_what_is_never_flagged(shipped: Searcher, carrier: str) -> None:
    """Timestamps, ids, hashes, versions, ports, model names and code, alone and among others."""
    wrong = [(text, said(shipped, carrier.format(text))) for text in NEVER if said(shipped, carrier.format(text))]
    assert not wrong


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("my phone is 4155550123", [("PHONE", "4155550123")]),
        ("781 1704 office", [("PHONE", "781 1704")]),
        ("the order is 4155550123", []),
        ("ssn 078051120", [("SSN", "078051120")]),
        ("the server at 1.2.3.4", [("IP", "1.2.3.4")]),
        ("public 1.2.3.4 m2", []),
        ("visit acme.de today", [("DOMAIN", "acme.de")]),
        ("like acme.de today", []),
        ("card no. 630427373398", [("CARD", "630427373398")]),
        ("discard 630427373398", []),
    ],
)
def test_words_near_it_decide(shipped: Searcher, text: str, found: list[tuple[str, str]]) -> None:
    """A doubtful number counts with a telling word near it, a whole word: `discard` is no card."""
    assert said(shipped, text) == found


def test_everything_in_one_text(shipped: Searcher) -> None:
    """Each kind under its own type, in order, whatever stands between."""
    token = "ghp_" + "a8Kd0Qm2Xz" * 3 + "Ab12Cd"
    filler = "nothing of interest here. " * 400
    parts = [
        ("EMAIL", "bob@example.com"),
        ("IBAN", "DE89370400440532013000"),
        ("SECRET", token),
        ("CARD", "4111 1111 1111 1111"),
    ]
    text = filler + f" {filler}".join(value + " " for _, value in parts) + filler
    assert said(shipped, text) == parts


def test_terms_and_patterns_of_ones_own() -> None:
    """Words whole and in any case; a pattern that needs a word near it; what is never flagged; types not wanted."""
    searcher = Searcher(
        Pii(
            terms=[PiiTerm(id="projects", type="PROJECT", words=["Bluebird", "Project Night*"])],
            patterns=[
                PiiPattern(id="badge", type="BADGE", regex=r"\bB\d{6}\b", score=30, context=["badge"]),
                PiiPattern(id="desk", type="DESK", regex=r"\bD\d{6}\b"),
            ],
            never=["info@example.com"],
            skip=["IP"],
        )
    )
    text = "bluebird BLUEBIRDS project night* badge B123456 D123456 info@example.com me@example.com 203.0.113.7"
    assert said(searcher, text) == [
        ("PROJECT", "bluebird"),
        ("PROJECT", "project night*"),
        ("BADGE", "B123456"),
        ("DESK", "D123456"),
        ("EMAIL", "me@example.com"),
    ]
    assert said(searcher, "the plane B123456") == []


def test_least_score() -> None:
    """An operator who wants more takes a lower score."""
    assert said(Searcher(Pii(least_score=20)), "of 4155550123") == [("PHONE", "4155550123")]


def test_find_now_uses_what_it_was_given() -> None:
    """The worker's own function searches by the rules last given to it."""
    search.use(Pii(terms=[PiiTerm(id="t", words=["zeppelin"])]))
    assert search.find_all(["a zeppelin"]) == [[Finding(2, 10, "TERM", "t", 1.0)]]


VALUES = st.sampled_from(
    ["a@b.example", "4111 1111 1111 1111", "+49 30 901820", "DE89370400440532013000", "203.0.113.7", "fe80::1",
     "2001:db8::8a2e:370:7334", "https://x.example/", "www.firm.de", "firm.com", "123-45-6789", "(415) 555-0123",
     "a%40b.example"]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), VALUES), max_size=5))
def test_the_prefilter_loses_nothing(parts: list[tuple[str, str]]) -> None:
    """Whatever a recognizer is sure of lies within a window."""
    text = "".join(f"{words} {value} " for words, value in parts)
    windows = prefilter.windows(text)
    for kind in personal.kinds(("US", "DE")):
        for start, end, score in kind.find(text):
            if score >= 0.5:
                assert any(left <= start and end <= right for left, right in windows), (kind.type, text[start:end])


@given(st.integers(0, 500), st.integers(0, 20_000), st.integers(100, 5_000))
def test_pieces_cover_and_overlap(left: int, length: int, size: int) -> None:
    """No piece is too long, all is covered, and two that follow share what lies across their border."""
    overlap = size // 4
    found = prefilter.pieces(left, left + length, size, overlap)
    assert found[0][0] == left and found[-1][1] == left + length
    assert all(right - start <= size for start, right in found)
    assert all(a[1] - b[0] == overlap for a, b in itertools.pairwise(found))


def test_the_analyzer_needs_no_network_and_no_model(shipped: Searcher) -> None:
    """Everything above worked with what is installed: the suffix list is the bundled one."""
    assert {"com", "de", "internal"} <= personal.top_level()
    assert json.dumps(sorted(personal.top_level()))


ODD = st.text(
    st.sampled_from("0123456789٣٤５²½ .:-/@()+%xXaAeEſßİ中_\n\r\t\u200b\u00a0\ud800\udfff\U0001f600=\"'\\<>,;"),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        ODD | VALUES | st.sampled_from(["password=", "phone", "GB82", "card ", "://", "www.", "eyJ", "sk-"]), max_size=6
    )
)
def test_no_text_is_too_odd(shipped: Searcher, parts: list[str]) -> None:
    """Whatever the characters: no error, and findings that lie in the text, in order, of known score."""
    text = "".join(parts)
    end = 0
    for each in shipped.find(text):
        assert end <= each.start < each.end <= len(text) and 0.5 <= each.score <= 1
        end = each.end
