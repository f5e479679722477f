"""What our pages say, and that they stand up to what callers may write."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from datasette.utils import tilde_encode

import browsed
from mitmesh.browse.pages import since
from mitmesh.browse.questions import ACCESS, AUDIT, CONTENT
from mitmesh.browse.serve import build
from mitmesh.browse.users import Kind, Role, Users
from mitmesh.dialects.base import Operation

EVIL = "<script>alert(1)</script>\"'&"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("company")
    evil = browsed.one(0.01, ("user", EVIL), team=EVIL, user=EVIL, tool=EVIL, model=EVIL, session=EVIL)
    evil.decide("policy", browsed.Action.WARN, EVIL, EVIL)
    browsed.make(folder, [*browsed.company(), evil])
    return folder


async def page(folder: Path, path: str, role: Role = Role.AUDITOR) -> str:
    """The page's HTML."""
    datasette = build(folder)
    token = Users(folder).add("ada", role, Kind.TOKEN)
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {token}"}
    answer = await datasette.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    return str(answer.text)


async def test_the_front_page_answers_the_first_questions(company: Path) -> None:
    """Spent by day, team and model, metered and notional apart; new, refused, slow, large, unread, telemetry."""
    html = await page(company, "/?period=30d")
    for words in (
        "metered", "notional", "research-and-development", "grace", "models.allowed", "team-day", "observed", "3.1 min",
        "412.0k", "1.8 MB", "certificate rejected", "statsig.anthropic.com", "github.com", "without a known price",
        "upstream failed",
    ):  # fmt: skip
        assert words in html, words
    assert "took too long" not in html


async def test_a_session_turn_by_turn(company: Path) -> None:
    """Each turn has its tokens, cost and times; texts show what is new in it, once, and the tools called."""
    path = f"/sessions/{tilde_encode(browsed.SESSION)}"
    html = await page(company, path, Role.VIEWER)
    assert html.count('class="card turn"') == 4
    for words in ("redacted: email", "16.5k", "900 ms", "auditors may read"):
        assert words in html, words
    assert "Show texts" not in html

    html = await page(company, path + "?texts=1")
    assert html.count("You are a coding agent.") == 1
    assert html.count(browsed.SECRET_WORDS) == 1
    assert html.count("Tools called: <code>read_file</code>") == 3
    assert html.count("<h4>tool call <code>read_file</code>") == 3  # in answers; what is sent back is the same call
    assert "messages of the turns before were sent again" in html


async def test_two_callers_with_one_name_for_their_session(tmp_path: Path) -> None:
    """Somebody else's session of the same name is another: nobody gets into a session by claiming its name."""
    calls = [browsed.one(0.1, session="main", team=team, user=user) for team, user in (("a", "ann"), ("b", "bob"))]
    await asyncio.to_thread(browsed.make, tmp_path, calls)
    html = await page(tmp_path, "/sessions?period=all")
    assert html.count("/sessions/main?caller=") == 2
    both = await page(tmp_path, "/sessions/main")
    assert "ann" in both and "bob" in both and 'class="card turn"' not in both
    ann = await page(tmp_path, "/sessions/main?caller=a%7Cann%7C")
    assert ann.count('class="card turn"') == 1 and "bob" not in ann
    assert "/sessions/main?caller=a%7Cann%7C&amp;texts=1" in ann


@pytest.mark.parametrize(
    "path",
    [
        "/?period=today",
        "/?period=all",
        "/?period=%3Cscript%3E",
        "/sessions?period=all",
        f"/sessions/{tilde_encode(EVIL)}?texts=1",
    ],
)
async def test_what_callers_write_is_text(company: Path, path: str) -> None:
    """Names, models, rules and messages are escaped wherever they are shown."""
    html = await page(company, path)
    assert "<script" not in html


async def test_a_call_and_what_is_not_there(company: Path) -> None:
    """Every call has its page; what does not exist is a 404, whatever its name."""
    datasette = build(company)
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {Users(company).add('bob', Role.AUDITOR, Kind.TOKEN)}"}
    rows = (await datasette.client.get("/audit/exchanges.json?_shape=array&_size=100", headers=headers)).json()
    for row in rows:
        answer = await datasette.client.get(f"/calls/{row['id']}?texts=1", headers=headers)
        assert answer.status_code == 200
        assert "<script" not in answer.text
    for path in ("/calls/nothing", "/sessions/nothing", "/sessions/~00", "/calls/../x"):
        assert (await datasette.client.get(path, headers=headers)).status_code == 404


@pytest.mark.parametrize(("database", "questions"), [("audit", AUDIT), ("content", CONTENT), ("access", ACCESS)])
async def test_every_question_can_be_asked(company: Path, database: str, questions: dict[str, object]) -> None:
    """Each canned query runs, for all time and with nothing given."""
    datasette = build(company)
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {Users(company).add('eve', Role.AUDITOR, Kind.TOKEN)}"}
    for name in questions:
        answer = await datasette.client.get(f"/{database}/{name}.json?since=&words=merger", headers=headers)
        assert answer.status_code == 200, (name, answer.text[:300])
        assert answer.json()["rows"], name


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    browsed.make(tmp_path, browsed.session(0.1, 1))
    with sqlite3.connect(tmp_path / "audit.db") as db:
        for table in ("verdicts", "exchanges", "connections", "tunnels"):
            db.execute(f"delete from {table}")
    return tmp_path


async def test_an_empty_audit(empty: Path) -> None:
    """Before the first call the pages say that there is nothing."""
    assert "no calls in this time" in await page(empty, "/")
    assert "No session in this time" in await page(empty, "/sessions")


@pytest.mark.parametrize(
    ("period", "begins"), [("today", "2026-03-02"), ("7d", "2026-02-24"), ("30d", "2026-02-01"), ("all", "")]
)
def test_periods(period: str, begins: str) -> None:
    """A period is whole days, UTC, today among them."""
    assert since(period, datetime(2026, 3, 2, 1, tzinfo=UTC)) == begins


async def test_what_was_refused_was_not_left_uninspected(tmp_path: Path) -> None:
    """A body that could not be read and never left is a refusal, and nothing that went out unread."""
    read, refused = (browsed.one(0.01) for _ in range(2))
    read.inspected = refused.inspected = browsed.Inspected.OPAQUE
    refused.refuse("scope", "body.bad_json", "no JSON")
    refused.outcome = browsed.Outcome.REFUSED
    await asyncio.to_thread(browsed.make, tmp_path, [read, refused])
    datasette = build(tmp_path)
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {Users(tmp_path).add('a', Role.VIEWER, Kind.TOKEN)}"}
    rows = (await datasette.client.get("/audit/not_inspected.json?since=&_shape=array", headers=headers)).json()
    assert [(row["calls"], row["exchange"]) for row in rows] == [(1, read.id)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/../../etc/passwd"),
        ("GET", "/audit/exchanges/-/schema"),
        ("POST", "/audit/exchanges/-/insert"),
        ("GET", "/./x"),
    ],
)
async def test_what_is_nowhere_is_a_404(company: Path, method: str, path: str) -> None:
    """No path makes Datasette fail."""
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    token = Users(company).add("mal", Role.AUDITOR, Kind.TOKEN)
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": headers, "scheme": "http", "server": ("127.0.0.1", 1)}  # fmt: skip
    await build(company).app()(scope, receive, send)
    assert sent[0]["status"] == 404


async def test_long_names_and_lists_of_models(tmp_path: Path) -> None:
    """A model is one row, whoever serves it; what names none has none; a long name is cut where it shows."""
    listing = browsed.one(0.01, model="")
    listing.call.operation = Operation.MODELS
    calls = [browsed.one(0.01, model="m" * 200), browsed.one(0.01), browsed.one(0.02, provider="openai"), listing]
    await asyncio.to_thread(browsed.make, tmp_path, calls)
    html = await page(tmp_path, "/?period=all")
    assert "(no model)" not in html
    assert f">{'m' * 47}…</td>" in html and f">{'m' * 60}" not in html
    datasette = build(tmp_path)
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {Users(tmp_path).add('a', Role.VIEWER, Kind.TOKEN)}"}
    rows = (await datasette.client.get("/audit/spend_by_model.json?since=&_shape=array", headers=headers)).json()
    assert sorted((row["model"], ",".join(sorted(row["providers"].split(","))), row["calls"]) for row in rows) == [
        ("claude-sonnet-4-5", "anthropic,openai", 2), ("m" * 200, "anthropic", 1),
    ]  # fmt: skip
    rows = (await datasette.client.get("/audit/slowest.json?since=&_shape=array", headers=headers)).json()
    assert len(rows) == 3
