"""Small words: which of them forbid an answer, and which do not."""

from __future__ import annotations

import pytest

from mitmesh.caching.gate import Judgement, judge
from mitmesh.caching.relations import apart, steps


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Show orders that are late and unpaid", "Show orders that are late or unpaid"),
        ("The report of the manager, is it ready?", "The report about the manager, is it ready?"),
        ("What happened when the server was restarted?", "What happened although the server was restarted?"),
        ("Can I drink few coffees before an exam?", "Can I drink a few coffees before an exam?"),
        ("The invoice is paid by the customer, what next?", "The invoice was paid by the customer, what next?"),
        ("Who presents the annual report?", "Who presented the annual report?"),
        ("Why did the server restart?", "Why does the server restart?"),
        ("Which orders can be shipped today?", "Which orders could be shipped today?"),
        ("Do I need to inform my bank?", "Do I need to inform our bank?"),
        ("Do I need to inform the bank?", "Do I need to inform a bank?"),
        ("Is this phone compatible with pads?", "Is that phone compatible with pads?"),
        ("Can I use my son's card abroad?", "Can my son use my card abroad?"),
        ("Can the users edit the admins' posts?", "Can the admins edit the users' posts?"),
        ("How do I let my team see my calendar?", "How do I see my team's calendar?"),
        ("How do I get the first item of the last list?", "How do I get the last item of the first list?"),
        ("I only eat meat on Fridays, is that bad?", "I eat only meat on Fridays, is that bad?"),
        ("Even John passed the test, right?", "John passed even the test, right?"),
        ("Do I have to register to vote?", "Do I have to vote to register?"),
        ("Do students who work study less?", "Do students who study work less?"),
        ("How do I use Excel to open a file?", "How do I use a file to open Excel?"),
        ("Kann ich mit der Karte im Ausland zahlen", "Kann ich mit der Karte kein Ausland zahlen"),
    ],
)
def test_small_words_and_order_forbid_whatever_the_cosine(a: str, b: str) -> None:
    """Found by a blind try: what a model of meaning hardly sees. Also where one of them begins with a role."""
    for one, other in ((a, b), (b, a), (f"You are a senior analyst. {a}", b)):
        assert judge(one, other, 1.0).hit is False


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Show orders that are late and unpaid", "Show orders that are late or unpaid"),
        ("Can I use my son's card abroad?", "Can my son use my card abroad?"),
    ],
)
def test_the_reason_is_said(a: str, b: str) -> None:
    assert judge(a, b, 1.0) == Judgement(False, "relations", 0.0)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How do I reset my password?", "Please, how can I reset my password?"),
        ("How do I reset my password?", "how to reset my password"),
        ("Explain the water cycle", "What is the water cycle?"),
        ("Tell me what a closure is", "What's a closure?"),
        ("My card hasn't arrived", "My card has not arrived"),
        ("How do I sort a long list in Python?", "In Python, how can I sort a long list?"),
        ("List risks of calls between services", "List risks of calls amongst services"),
        ("How do I keep a sourdough starter alive?", "How do I keep sourdough starter alive?"),
        ("How would I activate my card?", "How do I activate my card?"),
        ("Can you tell me how I reset a router?", "How I reset a router?"),
        ("I have lost my passport in Rome", "I lost my passport in Rome"),
    ],
)
def test_harmless_words_and_frames_do_not_forbid(a: str, b: str) -> None:
    """An explicit few: politeness, ways to ask, contractions, an article more or less, a phrase in front."""
    assert judge(a, b, 1.0).reason == judge(b, a, 1.0).reason == "meaning"


def test_in_other_words_small_words_may_be_others() -> None:
    """But for those that turn the meaning however it is put."""
    a = "I do not recognize a direct debit payment that I see on my app"
    b = "I see a direct debit payment on my app that I did not do"
    assert not apart(steps(a), steps(b), (a.split(), b.split()), composed=False)
    for turned in (b.replace("that", "before"), b.replace("not ", ""), b.replace("I did", "only I did")):
        assert apart(steps(a), steps(turned), (a.split(), turned.split()), composed=False), turned


def test_each_word_has_its_small_words() -> None:
    """Articles apart, the last without a word."""
    found = [(each.before, each.article, each.word) for each in steps("Is the son's card what a bank asks for?")]
    assert found == [
        (("is",), "the", "son"),
        (("'s",), "", "card"),
        (("what",), "a", "bank"),
        ((), "", "ask"),
        (("for",), "", ""),
    ]
