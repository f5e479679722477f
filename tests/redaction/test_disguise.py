"""Values that a text hides from a pattern: each is found, and found whole, in the text as it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.disguise import MARK, Plainly
from mitmesh.redaction.search import Searcher
from mitmesh.rules import Pii, PiiPattern, PiiTerm
from redactions import shipped_pii


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    return Searcher(shipped_pii())


KEY = "ghp_9xKq27LmPz83RtWv55Ab1cDe6fGh7iJk8LmN"
CARD = "4111 1111 1111 1111"
UNSPACED = [
    ("请写信给{}谢谢", "ann@example.com"), ("メールは{}まで", "ann@example.com"), ("我的电话是{}吗", "+12125550123"),
    ("電話は{}です", "03-1234-5678"), ("我的社会安全号码是{}请保密", "123-45-6789"), ("密钥是{}请检查", KEY),
    ("银行卡{}谢谢", "4111111111111111"), ("ip是{}吗", "203.0.113.77"), ("이메일{}입니다", "ann@example.com"),
    ("โทร{}ครับ", "+66812345678"), ("账户{}谢谢", "DE89370400440532013000"), ("و{}", "+12125550123"),
    ("请\u200b{}\u200b谢谢", "ann@example.com"),
]  # fmt: skip
"""Scripts without spaces."""
WRITTEN = [
    ('log = "card\\n{}\\nssn"', "4111111111111111"), ('"ssn\\t{}"', "123-45-6789"), ("f'{{x}}\\n{}'", "212-555-0187"),
    ("b'\\n{}'", "DE89370400440532013000"), ("print('token:\\n{}\\n')", KEY), ("'\\r\\n{}'", "AKIAQ3EGZ7XK2LMNPV5T"),
    ("'\\n{}'", "+1 212 555 0123"), ("'\\n{}'", "203.0.113.77"), ("\x1b[1;31m{}\x1b[0m", "4111111111111111"),
]  # fmt: skip
"""Line breaks as source code has them, colors of a terminal."""
DISGUISED = [
    ("{}", "ann\u200b@example.com"), ("{}", "an\u200bn@exam\u200bple.com"), ("{}", "ann@exam\u00adple.com"),
    ("{}", "ann\0@example.com"), ("{}", "ann＠example.com"), ("{}", "ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ"),
    ("{}", "ann﹫example.com"), ("{}", "ann&#64;example.com"), ("{}", "ann&#x40;example.com"),
    ("{}", "ann&commat;example.com"), ("{}", "ann%2540example.com"), ("{}", "ann\\x40example.com"),
    ("card {}", CARD.replace(" ", "\u00a0")), ("card {}", CARD.replace(" ", "\u2009")), ("{}", CARD.replace(" ", "–")),
    ("{}", CARD.replace(" ", "_")), ("{}", CARD.replace(" ", "/")), ("{}", CARD.replace(" ", "  ")),
    ("{}", CARD.replace(" ", "\u200b")), ("card {}", "４１１１１１１１１１１１１１１１"), ("card {}",
    "٤١١١١١١١١١١١١١١١"),
    ("SSN {}", "123–45–6789"), ("SSN {}", "123\u201145\u20116789"), ("{}",
    "212–555–0187"), ("{}", "212\u2011555\u20110187"),
    ("{}", "＋１ ２１２ ５５５ ０１２３"), ("{}", KEY[:14] + "\u200b" + KEY[14:]),
    ("\u200b{}\u200b", "ann@example.com"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [*UNSPACED, *WRITTEN, *DISGUISED])
def test_is_found_whole(searcher: Searcher, text: str, value: str) -> None:
    """Neither less nor more of the text than the value is found."""
    text = text.format(value)
    assert [text[each.start : each.end] for each in searcher.find(text)] == [value]


@pytest.mark.parametrize(
    "text",
    ["C:\\new\\test\\readme.txt", "m² and x³", "1914–1918, 1939–1945", "pages 10–20", "&#169; 2024 &#8364;", "\\x1b[0m",
     "版本号1.2.3.4发布", "订单4839201746已发货", "时间戳1732645000", "\x00\x01", "100%25 sure", "👩\u200d💻 ok"],
)  # fmt: skip
def test_nothing_more_is_found(searcher: Searcher, text: str) -> None:
    """Reading a text plainly makes no value of what is none."""
    assert searcher.find(text) == []


PARTS = st.sampled_from(
    ["a", "9", "ab1", "请", "ann", "\u200b", "\u00ad", "\0", "＠", "\u00a0", "–", "\\n",
    "\\x40", "&#64;", "&#9;", "%2540",
     "\x1b[0m", " ", ".", "é", "٣", "\\\\", "x1"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=12).map("".join))
def test_every_place_comes_back(text: str) -> None:
    """What each character as read came from reads as that character again; places go forward and miss nothing seen."""
    plainly, last = Plainly(text), 0
    for at, char in enumerate(plainly.text):
        start, end = plainly.written(at, at + 1)
        assert last <= start <= end <= len(text)
        assert Plainly(text[last:start]).text.strip(MARK) == ""
        assert char == MARK or char in Plainly(text[start:end]).text or text[start:end] in ("\\", "%", "–")
        last = end
    assert Plainly(text[last:]).text.strip(MARK) == ""


def test_a_plain_text_is_itself() -> None:
    """Nothing is copied where there is nothing to read otherwise."""
    text = "plain words, 'signs' and \\d escapes"
    assert Plainly(text).text is text and Plainly(text).written(3, 9) == (3, 9)


def test_terms_and_patterns_in_other_scripts() -> None:
    """A script without spaces has no whole words: a term is found within a sentence. Patterns that speak of it too."""
    found = Searcher(
        Pii(
            terms=[PiiTerm(id="t", words=["蓝鸟", "项目Nightfall", "Bluebird", "Синица"])],
            patterns=[PiiPattern(id="badge", type="BADGE", regex=r"员工(?P<value>\d{6})")],
        )
    ).find
    text = "我的蓝鸟项目和项目Nightfall以及Bluebird计划, Blue\u200bbird, 员工123456, Синица, Синицами, Bluebirds"
    values = ["蓝鸟", "项目Nightfall", "Bluebird", "Blue\u200bbird", "123456", "Синица"]
    assert [text[each.start : each.end] for each in found(text)] == values
