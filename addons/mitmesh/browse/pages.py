"""Our pages in Datasette: the front page, sessions, one session turn by turn, one call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from datasette import Forbidden, NotFound, Response, hookimpl
from datasette.database import QueryInterrupted
from datasette.utils import tilde_decode, tilde_encode
from markupsafe import Markup

from mitmesh.browse import charts
from mitmesh.browse.access import METADATA, TEXTS, Site, html, is_auditor, may_read
from mitmesh.browse.conversation import Turn, turns
from mitmesh.browse.questions import AUDIT, CALL, MESSAGES, OBSERVED, SESSION, TOTALS, VERDICTS
from mitmesh.exchange import id_at

PERIODS = {"today": 0, "7d": 6, "30d": 29, "all": None}
"""How many days before today each begins."""
FRONT = ("spend_by_day", "spend_by_team", "spend_by_model", "new_callers", "refusals", "slowest", "most_tokens",
         "not_inspected", "not_decrypted", "tunnelled", "telemetry", "unpriced", "errors")  # fmt: skip
SHOWN = 6
"""Rows of each question on the front page; the canned query has all."""
LIMIT_MS = 4_000
COLUMNS = ("started", "team", "user", "tool", "model", "outcome", "status", "prompt_tokens", "completion_tokens",
           "cost_microusd", "total_ms", "session")  # fmt: skip
CALLS = "/audit/exchanges?" + "&".join(f"_col={name}" for name in COLUMNS)
"""Datasette's table of calls, with what people look at first."""

type Rows = list[dict[str, Any]]


@hookimpl  # type: ignore[untyped-decorator]
def register_routes(datasette: Any) -> list[tuple[str, Callable[..., Awaitable[Any]]]]:
    """Where our pages are."""
    if not isinstance(datasette, Site):
        return []
    return [(r"^/$", front), (r"^/sessions$", sessions), (r"^/sessions/(?P<id>[^/]+)$", session),
            (r"^/calls/(?P<id>[0-9A-Za-z]+)$", call)]  # fmt: skip


@hookimpl  # type: ignore[untyped-decorator]
def prepare_jinja2_environment(env: Any, datasette: Any) -> None:
    """What templates use."""
    env.filters |= {"money": charts.money, "ms": charts.ms, "number": charts.number, "bytes": charts.size}
    env.filters |= {"moment": moment, "session_url": session_url, "micro": lambda v: charts.money(_dollars(v))}


@hookimpl  # type: ignore[untyped-decorator]
def render_cell(value: Any, column: str, table: str | None, database: str) -> Markup | None:
    """In Datasette's own tables, calls and sessions lead to their pages."""
    if not isinstance(value, str) or not value or database not in (METADATA, TEXTS):
        return None
    if column == "exchange" or (column == "id" and table == "exchanges"):
        return Markup('<a href="/calls/{0}">{0}</a>').format(value)
    if column == "session":
        return Markup('<a href="{}">{}</a>').format(session_url(value), value)
    return None


def session_url(session: str, caller: str = "") -> str:
    """The path of a session's page; with `caller`, of that caller's alone."""
    return f"/sessions/{tilde_encode(session)}" + (f"?{urlencode({'caller': caller})}" if caller else "")


def moment(stamp: str | None) -> str:
    """A moment to the second, as people write it; UTC."""
    return (stamp or "")[:19].replace("T", " ")


def since(period: str, now: datetime) -> str:
    """Where a period begins, as an ISO day (UTC); empty for all time."""
    before = PERIODS[period]
    return "" if before is None else (now - timedelta(days=before)).date().isoformat()


async def front(datasette: Any, request: Any) -> Response:
    """The first questions, answered."""
    await _enter(datasette, request)
    period = _period(request)
    begin = since(period, datetime.now(UTC))
    from_id = id_at(int(datetime.fromisoformat(begin).replace(tzinfo=UTC).timestamp() * 1000)) if begin else ""
    named = {name: AUDIT[name].sql for name in FRONT}
    every = [TOTALS, OBSERVED, *named.values()]
    found = await asyncio.gather(*(_rows(datasette, METADATA, sql, since=begin, since_id=from_id) for sql in every))
    answers = dict(zip(named, found[2:], strict=True))
    for name in ("spend_by_team", "spend_by_model"):
        _bars(answers[name])
    context = {
        "total": found[0][0] if found[0] else {},
        "observed": found[1][0]["calls"] if found[1] else 0,
        "found": {name: rows[:SHOWN] for name, rows in answers.items()},
        "counts": {name: len(rows) for name, rows in answers.items()},
        "chart": charts.columns(charts.days(answers["spend_by_day"], begin)),
        "slow": any(rows is SLOW for rows in found),
    }
    return await _page(datasette, request, "mesh_front.html", period=period, begin=begin, **context)


async def sessions(datasette: Any, request: Any) -> Response:
    """All sessions of a period, the latest first."""
    await _enter(datasette, request)
    period = _period(request)
    begin = since(period, datetime.now(UTC))
    rows = await _rows(datasette, METADATA, AUDIT["sessions"].sql, since=begin)
    return await _page(datasette, request, "mesh_sessions.html", period=period, begin=begin, rows=rows)


async def session(datasette: Any, request: Any) -> Response:
    """One session, turn by turn; with `?texts=1` what was said, which is recorded as a read of content. Where several
    callers claim its name, their sessions to choose from."""
    await _enter(datasette, request)
    wanted = tilde_decode(request.url_vars["id"])
    caller = request.args.get("caller") or ""
    calls = await _rows(datasette, METADATA, SESSION, session=wanted, caller=caller)
    if not calls:
        raise NotFound("The audit has no such session")
    if len({call["caller"] for call in calls}) > 1:
        every = await _rows(datasette, METADATA, AUDIT["sessions"].sql, since="")
        rows = [row for row in every if row["session"] == wanted]
        return await _page(datasette, request, "mesh_sessions.html", period="all", begin="", rows=rows)
    said = await _turns(datasette, request, calls)
    most = max((turn.call["total_ms"] or 0.0 for turn in said), default=0.0)
    totals = {name: _sum(calls, name) for name in (
        "prompt_tokens", "completion_tokens", "cache_read_tokens", "cost_microusd", "notional_microusd", "own_ms",
        "total_ms")}  # fmt: skip
    return await _page(
        datasette, request, "mesh_session.html", session=wanted, caller=caller, turns=said, totals=totals,
        first=calls[0], timing=lambda c: charts.timing(c["own_ms"], c["first_token_ms"], c["total_ms"], most),
    )  # fmt: skip


async def call(datasette: Any, request: Any) -> Response:
    """One call: who, what was decided and why, how long, what it cost; with `?texts=1` what was said."""
    await _enter(datasette, request)
    calls = await _rows(datasette, METADATA, CALL, id=request.url_vars["id"].upper())
    if not calls:
        raise NotFound("The audit has no such call")
    (turn,) = await _turns(datasette, request, calls)
    one = turn.call
    context = {
        "turn": turn,
        "call": one,
        "stages": json.loads(one["stage_ms"] or "{}"),
        "sources": json.loads(one["identity_sources"] or "{}"),
        "timing": charts.timing(one["own_ms"], one["first_token_ms"], one["total_ms"], one["total_ms"] or 0.0),
    }
    return await _page(datasette, request, "mesh_call.html", **context)


async def _turns(datasette: Any, request: Any, calls: Rows) -> list[Turn]:
    ids = json.dumps([row["id"] for row in calls])
    verdicts = await _rows(datasette, METADATA, VERDICTS, ids=ids)
    messages: Rows | None = None
    if request.args.get("texts") and is_auditor(request.actor) and TEXTS in datasette.databases:
        if not await may_read(datasette, request.actor):
            raise Forbidden("The record of reads cannot be written, so content is not shown")
        messages = await _rows(datasette, TEXTS, MESSAGES, ids=ids)
    return turns(calls, verdicts, messages)


async def _enter(datasette: Any, request: Any) -> None:
    await datasette.ensure_permissions(request.actor, [("view-database", METADATA)])
    if METADATA not in datasette.databases:
        raise NotFound("There is no audit yet")


SLOW: Rows = []
"""In place of rows that took too long to find."""


async def _rows(datasette: Any, database: str, sql: str, **values: Any) -> Rows:
    try:
        found = await datasette.databases[database].execute(sql, values, custom_time_limit=LIMIT_MS)
    except QueryInterrupted:
        return SLOW
    return [dict(row) for row in found.rows]


async def _page(datasette: Any, request: Any, template: str, **context: Any) -> Response:
    shared = {
        "auditor": is_auditor(request.actor) and TEXTS in datasette.databases,
        "texts": bool(request.args.get("texts")) and is_auditor(request.actor),
        "periods": PERIODS,
        "questions": AUDIT,
        "now": moment(datetime.now(UTC).isoformat()),
        "calls_url": CALLS,
        "asked": f"{request.path}?{urlencode({**dict(request.args), 'texts': 1})}",
    }
    return html(await datasette.render_template(template, shared | context, request=request))


def _period(request: Any) -> str:
    asked = request.args.get("period") or "7d"
    return asked if asked in PERIODS else "7d"


def _bars(rows: Rows) -> None:
    most = max(((row["cost_usd"] or 0.0) + (row["notional_usd"] or 0.0) for row in rows), default=0.0)
    for row in rows:
        row["bar"] = charts.bar(row["cost_usd"] or 0.0, row["notional_usd"] or 0.0, most)


def _sum(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) if values else None


def _dollars(micro: int | None) -> float | None:
    return None if micro is None else micro / 1e6
