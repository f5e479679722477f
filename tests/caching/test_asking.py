"""Ways to ask and to say: which have one form, and which look alike and have not."""

from __future__ import annotations

import time

import pytest

from mitmesh.caching import asking, gate
from mitmesh.caching.gate import judge
from mitmesh.caching.reading import read


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Is it possible to return the shoes?", "Can I return the shoes?"),
        ("Is there a way to return the shoes?", "Am I able to return the shoes?"),
        ("Would I be able to return the shoes?", "Could I return the shoes?"),
        ("I was wondering if I could return the shoes?", "Can you tell me whether I can return the shoes?"),
        ("Why am I not able to return the shoes?", "Why can't I return the shoes?"),
        ("I'm unable to return the shoes", "I can't return the shoes"),
        ("How come my order is late?", "Why is my order late?"),
        ("Can you let me know why my order is late?", "My order is late, why is that?"),
        ("Please explain to me where my order is", "Where is my order?"),
        ("How come I didn't get the order?", "Why didn't I get the order?"),
        ("Why is my order not shown?", "Why isn't my order shown?"),
        ("When I paid, did the app crash?", "Did the app crash when I paid?"),
        ("In the app, can I return the shoes?", "Can I return the shoes in the app?"),
        ("The shoes that I bought are red", "The shoes I bought are red"),
        ("Do I have to return the shoes?", "Do I need to return the shoes?"),
        ("I'd like to return the shoes", "I want to return the shoes"),
        ("Why have I been charged twice?", "Why was I charged twice?"),
        ("Which shoes do you have?", "What kind of shoes do you have?"),
        ("Can I return the shoes as well?", "Can I return the shoes?"),
        ("Please help me. My shoes are lost.", "My shoes are lost. Can you help?"),
        ("Does my order show up in the app?", "Does my order show in the app?"),
    ],
)
def test_one_form(a: str, b: str) -> None:
    """Nothing else tells them apart."""
    one, other = read(a), read(b)
    assert one and other and gate.forbidden(one, other) == "" and gate.kind(one, other) == "same"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Is it possible to return the shoes?", "Is it possible for him to return the shoes?"),
        ("Am I able to return the shoes?", "Was I able to return the shoes?"),
        ("Am I not able to return the shoes?", "Am I able to not return the shoes?"),
        ("Could I have returned the shoes?", "Can I have returned the shoes?"),
        ("When my order is late, who is told?", "When is my order late, who is told?"),
        ("Let me know if it is late", "Is it late?"),
        ("I think that shoe is mine", "I think this shoe is mine"),
        ("Can I pay using my card?", "Can I pay my card?"),
        ("How do I compare Python with pandas?", "How do I compare Python using pandas?"),
        ("How long do I have to return the shoes?", "How long do I need to return the shoes?"),
        ("In court, may I say that I was drunk?", "May I say that I was drunk in court?"),
        ("In Canada, can I drive a car that is registered?", "Can I drive a car that is registered in Canada?"),
        ("Which does she prefer, tea or milk?", "What does she prefer, tea or milk?"),
        ("Can I bring a dog as well as a cat?", "Can I bring a dog?"),
        ("I need to return the shoes", "I want to return the shoes"),
    ],
)
def test_not_one_form(a: str, b: str) -> None:
    """They look as if they were."""
    assert judge(a, b, 1.0).hit is judge(b, a, 1.0).hit is False


def test_what_a_sign_leaves_out_no_form_would_find() -> None:
    """A sign is in all that its form is for."""
    for text in ("Can you tell me how I can do it?", "I am not able to find out what kind of bug shows up, why?"):
        for form in (*asking._PHRASES, *asking._RELATED):
            if form.pattern.search(text.lower()):
                assert any(sign in text.lower() for sign in form.signs), form


@pytest.mark.parametrize(
    "unit", ["can you tell me ", "in a, ", "why is my a ", "is it ", "help ", "i have been ", "a, why? "]
)
def test_no_text_takes_long(unit: str) -> None:
    text = (unit * 2000)[:4000]
    began = time.process_time()
    asking.related(asking.plain(asking.phrased(text)))
    assert time.process_time() - began < 3
