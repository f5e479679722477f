"""The commit stage: what is recorded of an exchange, and when a call may leave."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from audits import answered, exchange, rows, rules, until
from mitmesh.dialects.base import Answer, Kind, Part
from mitmesh.exchange import Action, Billing, Connection, ConnectionKind, Exchange, Inspected, Mode, Outcome
from mitmesh.stages.commit import Commit
from mitmesh.store import queries


@asynccontextmanager
async def running(data: Path, *, redacting: bool = False, **audit: Any) -> AsyncIterator[Commit]:
    commit = Commit(data, redacting)
    commit.configure(rules(**audit))
    await commit.start()
    try:
        yield commit
    finally:
        await commit.stop()


async def run(commit: Commit, x: Exchange) -> Exchange:
    await commit.request(x)
    commit.finish(answered(x))
    return x


async def test_a_finished_exchange_is_one_row_with_all_that_is_known(tmp_path: Path) -> None:
    """Request, identity, usage, cost and times stand in the row of a finished exchange."""
    x = exchange(("user", "hello"), session="s1", client="10.0.0.7", request_bytes=42, response_bytes=99)
    x.times.stages["identity"] = 0.0015
    async with running(tmp_path) as commit:
        await run(commit, x)
    row = queries.exchange(tmp_path, x.id)
    assert row is not None
    expected = {
        "team": "blue", "namespace": "prod", "session": "s1", "turn": 1, "client": "10.0.0.7",
        "user_agent": "codex/1.0", "provider": "openai", "host": "api.openai.com", "model": "gpt-4o",
        "operation": "chat", "dialect": "plain", "stream": 0, "status": 200, "origin": "provider", "billing": "metered",
        "outcome": "answered", "prompt_tokens": 10, "completion_tokens": 5, "cost_microusd": 1500,
        "notional_microusd": None, "total_ms": 250.0, "request_bytes": 42, "response_bytes": 99, "inspected": "full",
        "policy_version": "0123456789ab", "answer_model": "gpt-4o-2024", "finish_reason": "stop", "estimated": 0,
        "first_token_ms": None, "via": "forward", "forwarded": 1,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["identity_sources"]) == {"team": "network", "namespace": "network"}
    assert json.loads(row["stage_ms"]) == {"identity": 1.5}
    assert row["started"].endswith("+00:00")
    assert [(m["direction"], m["role"], m["text"]) for m in row["messages"]] == [
        ("request", "user", "hello"),
        ("answer", "assistant", "hi"),
    ]


async def test_unknown_is_null(tmp_path: Path) -> None:
    """Without usage and price, tokens and cost are NULL and not 0."""
    async with running(tmp_path) as commit:
        x = exchange()
        await commit.request(x)
        x.outcome = Outcome.UPSTREAM_FAILED
        commit.finish(x)
    row = queries.recent(tmp_path)[0]
    names = ("prompt_tokens", "completion_tokens", "estimated", "cost_microusd", "notional_microusd", "status")
    assert all(row[name] is None for name in names)


@pytest.mark.parametrize(
    ("billing", "cost", "notional"), [("metered", 7, None), ("subscription", None, 7), ("local", 7, None)]
)
async def test_what_a_subscription_paid_is_notional(
    tmp_path: Path, billing: str, cost: int | None, notional: int | None
) -> None:
    """The cost of a call that a plan paid is notional; all other cost is cost."""
    async with running(tmp_path) as commit:
        x = answered(exchange(), cost=7)
        x.billing = Billing(billing)
        commit.finish(x)
    row = queries.recent(tmp_path)[0]
    assert (row["cost_microusd"], row["notional_microusd"]) == (cost, notional)


async def test_credentials_and_accounts_are_keyed_hashes(tmp_path: Path) -> None:
    """Equal credentials give equal hashes, another folder's key gives others, and no file holds one in clear."""
    hashes = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        async with running(folder) as commit:
            for _ in range(2):
                x = exchange(credential="sk-very-secret")
                x.call.account = "account-77"
                await run(commit, x)
        found = rows(folder, "select distinct credential_hash, account_hash from exchanges")
        assert len(found) == 1
        hashes += found[0].values()
        for file in folder.rglob("*"):
            assert not file.is_file() or b"sk-very-secret" not in file.read_bytes()
            assert not file.is_file() or b"account-77" not in file.read_bytes()
    assert len(set(hashes)) == 4


async def test_an_open_exchange_has_a_row_without_outcome(tmp_path: Path) -> None:
    """While a call runs its row is there, open; its end completes the same row."""
    async with running(tmp_path) as commit:
        x = exchange(session="s")
        await commit.request(x)
        await until(lambda: commit.counters()["written"] == 1)
        assert queries.recent(tmp_path)[0]["outcome"] is None
        commit.finish(answered(x))
    found = queries.recent(tmp_path)
    assert [(row["outcome"], row["turn"], row["total_ms"]) for row in found] == [("answered", 1, 250.0)]


async def test_opened_and_finished_in_one_batch_is_one_write(tmp_path: Path) -> None:
    """A quick call costs one row's write, not two."""
    async with running(tmp_path) as commit:
        await run(commit, exchange())
        await until(lambda: commit.counters()["queued"] == 0)
        assert commit.counters()["written"] == 1


async def test_turns_count_the_exchanges_of_a_session(tmp_path: Path) -> None:
    """Turns go on over batches and restarts, each session its own; without a session there is none."""
    for _ in range(2):
        async with running(tmp_path) as commit:
            for session in ("a", "a", "b", None):
                await run(commit, exchange(session=session))
    found = rows(tmp_path, "select session, turn from exchanges order by id")
    assert sorted((row["session"], row["turn"]) for row in found if row["session"]) == [
        ("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 1), ("b", 2),
    ]  # fmt: skip
    assert all(row["turn"] is None for row in found if row["session"] is None)


async def test_verdicts_tell_rule_mode_and_reason(tmp_path: Path) -> None:
    """Verdicts stand in order, observed ones too; the row names the one that refused."""
    async with running(tmp_path) as commit:
        x = exchange()
        x.decide("guard", Action.REFUSE, "no-jokes", "would have", mode=Mode.OBSERVE)
        await commit.request(x)
        x.refuse("quota", "team-budget", "over budget", mode=Mode.ENFORCE)
        x.outcome = Outcome.REFUSED
        commit.finish(x)
    row = queries.exchange(tmp_path, x.id)
    assert row is not None
    assert [(v["stage"], v["action"], v["rule_id"], v["mode"]) for v in row["verdicts"]] == [
        ("guard", "refuse", "no-jokes", "observe"),
        ("quota", "refuse", "team-budget", "enforce"),
    ]
    assert (row["refused_by"], row["refused_rule"]) == ("quota", "team-budget")


async def test_an_exchange_refused_before_commit_has_its_row(tmp_path: Path) -> None:
    """A call that never came as far as commit is recorded at its end."""
    async with running(tmp_path) as commit:
        x = exchange(("user", "secret words"), rules_=rules(content="metadata"))
        x.refuse("policy", "nobody", "not allowed")
        x.outcome = Outcome.REFUSED
        commit.finish(x)
    row = queries.exchange(tmp_path, x.id)
    assert row is not None and row["refused_by"] == "policy"
    assert [(m["role"], m["chars"], m["text"]) for m in row["messages"]] == [("user", 12, None)]


KEPT = [
    # content, text, redacting, came past redact -> what is kept
    ("none", "raw", True, True, "nothing"),
    ("metadata", "raw", True, True, "sizes"),
    ("redacted", "redacted", False, True, "sizes"),
    ("redacted", "raw", False, True, "text"),
    ("redacted", "redacted", True, True, "text"),
    ("redacted", "redacted", True, False, "sizes"),
    ("redacted", "raw", True, False, "text"),
    ("full", "redacted", False, True, "sizes"),
    ("full", "redacted", True, True, "text"),
    ("full", "redacted", True, False, "sizes"),
]


@pytest.mark.parametrize(("content", "text", "redacting", "passed", "expected"), KEPT)
async def test_text_is_kept_only_as_the_rules_say(
    tmp_path: Path, content: str, text: str, redacting: bool, passed: bool, expected: str
) -> None:
    """No text that no redaction has seen is kept unless the rules say `text: raw`."""
    section = rules(content=content, text=text)
    async with running(tmp_path, redacting=redacting, content=content, text=text) as commit:
        x = exchange(("user", "unseen words"), rules_=section)
        if passed:
            await commit.request(x)
        commit.finish(answered(x))
    found = rows(tmp_path, "select text, chars from conversations -- messages")
    kinds = {"nothing": [], "sizes": [(None, 12), (None, 2)], "text": [("unseen words", 12), ("hi", 2)]}
    assert [(row["text"], row["chars"]) for row in found] == kinds[expected]
    if expected != "text":
        assert all(b"unseen words" not in file.read_bytes() for file in tmp_path.glob("*.db*"))


async def test_content_is_a_matter_of_the_team(tmp_path: Path) -> None:
    """A team's own setting comes before the general one."""
    section = rules(content="none", content_by_team={"blue": "full"})
    async with running(tmp_path) as commit:
        for team in ("blue", "red"):
            x = exchange(("user", f"words of {team}"), rules_=section)
            x.identity.team = team
            await run(commit, x)
    assert [row["text"] for row in rows(tmp_path, "select text from messages where role = 'user'")] == ["words of blue"]


async def test_what_redact_stores_is_kept_in_place_of_what_is_sent(tmp_path: Path) -> None:
    """An observing redaction sends the original and the audit keeps the redacted text; `full` keeps the first."""
    for content, expected in (("redacted", ["I am <PERSON_1>", "hi <PERSON_1>"]), ("full", ["I am Ann", "hi Ann"])):
        folder = tmp_path / content
        section = rules(content=content, text="redacted")
        async with running(folder, redacting=True) as commit:
            x = exchange(("user", "I am Ann"), rules_=section)
            x.notes["stored_texts"] = {("messages", 0): "I am <PERSON_1>"}
            await commit.request(x)
            x.notes["stored_answer"] = {0: "hi <PERSON_1>"}
            commit.finish(answered(x, "hi Ann"))
        assert [row["text"] for row in rows(folder, "select text from messages order by id")] == expected


async def test_an_agents_history_is_stored_once(tmp_path: Path) -> None:
    """An agent that resends a hundred messages adds one, and each exchange lists its own in order."""
    history = [("user" if n % 2 == 0 else "assistant", f"message {n}") for n in range(100)]
    async with running(tmp_path) as commit:
        first = exchange(*history)
        await run(commit, first)
        await until(lambda: len(rows(tmp_path, "select 1 from messages")) == 101)
        second = exchange(*history, ("assistant", "hi"), ("user", "one more"))
        await run(commit, second)
    assert len(rows(tmp_path, "select 1 from messages")) == 102
    found = queries.exchange(tmp_path, second.id)
    assert found is not None
    assert [m["text"] for m in found["messages"]][-3:] == ["hi", "one more", "hi"]
    assert [m["text"] for m in found["messages"]][:100] == [text for _, text in history]
    assert [hit["text"] for hit in queries.search(tmp_path, "message 42")] == ["message 42"]


async def test_every_part_of_an_answer_is_stored_under_its_role(tmp_path: Path) -> None:
    """Text, reasoning, tool calls and refusals are told apart; what is opaque is left out."""
    parts = [
        Part(Kind.REASONING, "hmm"),
        Part(Kind.TEXT, "yes"),
        Part(Kind.TOOL_CALL, '{"a":1}', "add"),
        Part(Kind.OPAQUE),
    ]
    async with running(tmp_path) as commit:
        x = exchange()
        await commit.request(x)
        answered(x).answer = Answer(parts=parts)
        commit.finish(x)
    found = rows(tmp_path, "select role, text from conversations where direction = 'answer' -- messages")
    assert [tuple(row.values()) for row in found] == [
        ("reasoning", "hmm"), ("assistant", "yes"), ("tool_call", 'add\n{"a":1}'),
    ]  # fmt: skip


async def test_what_was_not_read_is_counted(tmp_path: Path) -> None:
    """An opaque body counts as a whole, media in a readable one by their bytes."""
    async with running(tmp_path) as commit:
        for inspected in (Inspected.OPAQUE, Inspected.PARTIAL):
            x = exchange(inspected=inspected, request_bytes=1000)
            x.call.opaque_bytes = 300
            await run(commit, x)
    found = rows(tmp_path, "select inspected, uninspected_bytes from exchanges order by uninspected_bytes")
    assert [tuple(row.values()) for row in found] == [("partial", 300), ("opaque", 1000)]


async def test_odd_values_cost_no_other_call_its_row(tmp_path: Path) -> None:
    """Lone surrogates, endless strings and numbers beyond 64 bits are made to fit."""
    async with running(tmp_path) as commit:
        odd = exchange(("user", "broken \ud800 text"), session="s\ud800" * 500)
        odd.identity.user = "\udcff"
        await commit.request(odd)
        answered(odd, "\ud800").usage.prompt = 10**30  # type: ignore[union-attr]
        commit.finish(odd)
        await run(commit, exchange(("user", "plain")))
    found = rows(
        tmp_path, "select session, user, prompt_tokens, completion_tokens from exchanges order by length(session)"
    )
    assert len(found) == 2 and commit.counters()["lost"] == 0
    assert found[1]["prompt_tokens"] is None and found[1]["completion_tokens"] == 5
    assert len(found[1]["session"]) == 200 and found[1]["user"] == "?"
    assert "broken ? text" in [row["text"] for row in rows(tmp_path, "select text from messages")]


async def test_connections_are_rows_and_tunnels_are_counted(tmp_path: Path) -> None:
    """Each connection is listed; tunnelled ones are only counted per host and day, over restarts too."""
    for _ in range(2):
        async with running(tmp_path) as commit:
            for _ in range(3):
                commit.connection(Connection(ConnectionKind.TUNNELLED, "10.0.0.1", "example.com", 443))
            commit.connection(
                Connection(ConnectionKind.REFUSED, "10.0.0.1", "evil.test", 443, "sni.test", "rule-9", "blocked")
            )
    assert [(row["host"], row["connections"]) for row in queries.tunnels(tmp_path)] == [("example.com", 6)]
    found = queries.connections(tmp_path)
    names = ("kind", "client", "host", "port", "sni", "rule_id", "detail")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("refused", "10.0.0.1", "evil.test", 443, "sni.test", "rule-9", "blocked")
    ] * 2


async def test_strict_has_the_row_on_disk_before_the_call_leaves(tmp_path: Path) -> None:
    """When `request` returns, the row is in the file."""
    async with running(tmp_path, durability="strict") as commit:
        x = exchange()
        await commit.request(x)
        assert [row["id"] for row in queries.recent(tmp_path)] == [x.id]
        commit.finish(answered(x))


async def test_ndjson_lines_have_semameshs_names(tmp_path: Path) -> None:
    """A line per finished exchange, failed ones too, with exact dollars and text as the rules keep it."""
    async with running(tmp_path, ndjson="calls.ndjson") as commit:
        await run(commit, exchange(("system", "be kind"), ("user", "hello\nyou")))
        failed = exchange(outcome=Outcome.UPSTREAM_FAILED, rules_=rules(content="metadata"))
        await commit.request(failed)
        commit.finish(failed)
    raw = (tmp_path / "calls.ndjson").read_text().splitlines()
    assert '"cost_usd":0.0015,' in raw[0]
    first, second = map(json.loads, raw)
    assert list(first) == [
        "timestamp", "namespace", "model", "prompt_text", "completion_text", "total_tokens", "cost_usd", "id", "status",
        "outcome", "team",
    ]  # fmt: skip
    assert (first["prompt_text"], first["completion_text"], first["total_tokens"]) == ("hello\nyou", "hi", 15)
    assert (second["prompt_text"], second["cost_usd"], second["outcome"]) == (None, None, "upstream_failed")


async def test_rules_that_ask_for_text_that_is_not_kept_are_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without redact and without `text: raw` a warning says that no text is kept."""
    Commit(tmp_path, redacting=False).configure(rules(text="redacted"))
    assert "no text is kept" in caplog.text


async def test_health_before_the_start_and_while_all_is_well(tmp_path: Path) -> None:
    """Health tells the counters at any time, and no problem while there is none."""
    assert "problem" not in Commit(tmp_path, redacting=False).health()
    async with running(tmp_path) as commit:
        await run(commit, exchange())
        await until(lambda: commit.health()["queued"] == 0)
        health = commit.health()
        assert health["written"] == 1 and health["commit_seconds"] > 0
        assert not {"problem", "warning"} & set(health)
