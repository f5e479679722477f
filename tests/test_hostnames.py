from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.hostnames import parse_address, parse_host, parse_network, parse_pattern, split_port


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("api.openai.com", "api.openai.com"),
        ("API.OpenAI.com", "api.openai.com"),
        ("api.openai.com.", "api.openai.com"),
        ("ａｐｉ.openai.com", "api.openai.com"),
        ("api。openai．com", "api.openai.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("a_b.example", "a_b.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0X7F000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("[::FFFF:7f00:1]", "127.0.0.1"),
        ("1.2.3.4.5", "1.2.3.4.5"),
    ],
)
def test_one_spelling(text: str, name: str) -> None:
    """Every spelling that reaches a host is that host."""
    host = parse_host(text)
    assert host is not None and host.name == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a..b", ".a.b", "a b", "api.openai.com\0.evil.com", "api%2eopenai.com", "a/b", "a:b", "[::1",
     "user@host", "http://x", "x" * 64 + ".com", "a." * 130 + "com", "\ud800.com", "℀.com", "*.x.com"],
)  # fmt: skip
def test_no_host(text: str) -> None:
    """What no resolver takes for a host is none."""
    assert parse_host(text) is None


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text(text: str) -> None:
    """No text raises, and the one spelling is spelled by itself."""
    host = parse_host(text)
    if host is not None:
        assert parse_host(host.name) == host


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (
            "api.openai.com",
            ["api.openai.com", "API.openai.com."],
            ["evil-api.openai.com", "api.openai.com.evil.com", "xapi.openai.com", "api-openai.com", "openai.com"],
        ),
        ("*.cursor.sh", ["api2.cursor.sh"], ["cursor.sh", "a.b.cursor.sh", "xcursor.sh", "a.cursor.sh.evil.com"]),
        ("**.cursor.sh", ["cursor.sh", "a.cursor.sh", "a.b.cursor.sh"], ["xcursor.sh", "cursor.sh.evil.com"]),
        (
            "*-aiplatform.googleapis.com",
            ["us-central1-aiplatform.googleapis.com"],
            ["aiplatform.googleapis.com", "a.b-aiplatform.googleapis.com", "x-aiplatform.googleapis.com.evil"],
        ),
        (
            "bedrock-runtime.*.amazonaws.com",
            ["bedrock-runtime.us-east-1.amazonaws.com"],
            ["bedrock-runtime.amazonaws.com", "bedrock-runtime.a.b.amazonaws.com", "x.bedrock-runtime.a.amazonaws.com"],
        ),
        ("10.0.0.0/8", ["10.1.2.3", "::ffff:10.0.0.1", "10.1"], ["11.0.0.1", "10.example.com"]),
        ("127.0.0.1", ["127.0.0.1", "2130706433"], ["127.0.0.2", "localhost"]),
        ("fd00::/8", ["fd12::1", "[fd00::1]"], ["fe80::1", "10.0.0.1"]),
        ("bücher.example", ["xn--bcher-kva.example"], ["bucher.example"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    """Patterns are anchored at both ends and match hosts, however spelled."""
    parsed = parse_pattern(pattern)
    for text, expected in [(text, True) for text in yes] + [(text, False) for text in no]:
        host = parse_host(text)
        assert host is not None and parsed.matches(host, 443) is expected, text


@pytest.mark.parametrize(
    ("pattern", "host", "port", "expected"),
    [
        ("localhost:11434", "localhost", 11434, True),
        ("localhost:11434", "localhost", 443, False),
        ("[::1]:11434", "::1", 11434, True),
        ("[::1]:11434", "::1", 1, False),
        ("10.0.0.0/8:8000", "10.2.3.4", 8000, True),
        ("[fd00::/8]:8000", "fd00::1", 8000, True),
        ("*.corp:80", "x.corp", 81, False),
        ("x.corp", "x.corp", 1, True),
    ],
)
def test_ports(pattern: str, host: str, port: int, expected: bool) -> None:
    """A pattern without a port means any."""
    parsed = parse_host(host)
    assert parsed is not None and parse_pattern(pattern).matches(parsed, port) is expected


@pytest.mark.parametrize(
    "pattern",
    ["", "*", "**", "**.*", "a.*", "a.**.b", "***.b", "https://a.b", "a.b/c", "10.0.0.1/8", "a:0", "a:99999", "a:x",
     "a b", "[::1", "[::1]x", "a..b"],
)  # fmt: skip
def test_bad_patterns(pattern: str) -> None:
    """A pattern that could not mean what was meant is an error."""
    with pytest.raises(ValueError, match=r"."):
        parse_pattern(pattern)


def test_network_with_bits_behind_its_prefix() -> None:
    """The message says how the range is written."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/8"):
        parse_network("10.1.2.3/8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", ("a", None)), ("a:1", ("a", 1)), ("[::1]:2", ("::1", 2)), ("::1", ("::1", None)), ("[::1]", ("::1", None))],
)
def test_split_port(text: str, expected: tuple[str, int | None]) -> None:
    """Host and port come apart, IPv6 included."""
    assert split_port(text) == expected


def test_parse_address() -> None:
    """A socket's peer address is read in full spelling only, mapped IPv4 as IPv4."""
    assert str(parse_address("::ffff:10.0.0.1")) == "10.0.0.1"
    assert parse_address("example.com") is None
