"""Credentials are kept out of log lines, whoever writes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh import logscrub
from mitmesh.logscrub import scrub

KEY = "c4n4ry-KEY_value.1"


@pytest.mark.parametrize(
    "line",
    [
        f"GET /v1beta/models?key={KEY} HTTP/1.1",
        f"https://host/x?alt=sse&key={KEY}&more=1",
        f"/x?api_key={KEY}",
        f"/x?access_token={KEY}#frag",
        f"Authorization: Bearer {KEY}",
        f"authorization: {KEY}",
        f"Proxy-Authorization: Basic {KEY}",
        f"{{'authorization': 'Bearer {KEY}', 'a': 'b'}}",
        f'{{"x-api-key": "{KEY}"}}',
        f"x-goog-api-key={KEY}",
        f"api-key: {KEY}",
        f"Cookie: a=1; b={KEY}; c=2",
        f"Set-Cookie: session={KEY}; Path=/",
        f"bearer {KEY}",
        f"https://user:{KEY}@host/path",
        f"upstream:http://user:{KEY}@proxy:3128",
        f"Client closed connection before completing request headers: b'POST / HTTP/1.1\\r\\nX-Own: {KEY}'",
        f'Bad HTTP request line: b"it\'s {KEY}"',
        f"(b'authorization', b'{KEY}')",
        f"cut short: b'{KEY}",
        f"escaped: b'quote \\' {KEY}'",
        f"sk-{KEY}",
        "sk-proj-abcdefgh12345678",
        "sk-ant-api03-abcdefgh12345678",
        "AIzaSyA-abcdefghijklmnopqrst",
        "ghp_abcdefgh12345678",
    ],
)
def test_credentials_go(line: str) -> None:
    """Wherever a credential may stand in a line, it is replaced."""
    clean = scrub(line)
    assert "***" in clean
    for secret in (KEY, "abcdefgh"):
        assert secret not in clean


@pytest.mark.parametrize(
    "line",
    [
        "[127.0.0.1:52070] server connect api.openai.com:443 (104.18.7.192:443)",
        "Streaming response from api.openai.com.",
        "mitmesh stages: scope identity route commit meter metrics; rules 01ab; audit in /data/key=/x",
        "rules/mesh.yaml:4: limits.body_bytes: must be greater than or equal to 1048576; found '200000'",
        "stage cache failed in request: ValueError at cache.py:12",
        "http://127.0.0.1:8080",
        "upstream:http://127.0.0.1:8082@8080 failed to listen",
        "Try `--mode upstream:http://proxy.corp.example:3128@127.0.0.1:8082`.",
        "task-runner sk- pk_ monkey=3 web'site",
    ],
)
def test_ordinary_lines_stay(line: str) -> None:
    """Lines without credentials are not touched."""
    assert scrub(line) == line


@given(st.text(st.sampled_from("ab'\"\\=:&?;@/ \nkeycookie-sk")))
def test_any_text(text: str) -> None:
    """No text makes it fail, and scrubbing twice is scrubbing once."""
    once = scrub(text)
    assert scrub(once) == once


@given(st.binary(min_size=1))
def test_bytes_never_pass(data: bytes) -> None:
    """The repr of any bytes is replaced as a whole."""
    assert scrub(f"got {data!r} here") == "got b'***' here"


def test_long_lines_are_quick() -> None:
    """What looks like the beginning of a credential a hundred thousand times takes no quadratic time."""
    for piece in ("b'", "?key=", "cookie: ", "://", "sk-", "bearer "):
        scrub(piece * 20_000)


@pytest.fixture
def installed() -> Iterator[None]:
    """The record factory with `scrub` in it, and without it again afterwards."""
    before = logging.getLogRecordFactory()
    logscrub.install()
    logscrub.install()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("installed")
def test_every_logger(caplog: pytest.LogCaptureFixture) -> None:
    """Any logger's message, arguments and exception are cleaned before a handler sees them."""
    log = logging.getLogger("someone.else")
    with caplog.at_level(logging.DEBUG):
        log.debug("asking %s for %r", f"http://x/?key={KEY}", {"Authorization": f"Bearer {KEY}"})
        log.error(ValueError(f"x-api-key: {KEY}"))
        try:
            raise ValueError(f"Authorization: {KEY}")
        except ValueError:
            log.exception("it failed")
    assert len(caplog.records) == 3
    assert KEY not in caplog.text
    assert "ValueError" in caplog.text and "test_logscrub.py" in caplog.text


@pytest.mark.usefixtures("installed")
def test_mitmwebs_login_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """The one credential that is meant for the person at the terminal; nothing else in its place, from nobody else."""
    line = "Web server listening at http://127.0.0.1:8081/?token=0123abcd"
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("mitmproxy.tools.web.master").info("%s", line)
        logging.getLogger("mitmproxy.tools.web.master").info("%s", line + f" token=x ?key={KEY}")
        logging.getLogger("someone.else").info("%s", line)
    assert [record.getMessage().endswith("=0123abcd") for record in caplog.records] == [True, False, False]
    assert KEY not in caplog.text
