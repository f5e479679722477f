"""The schema of the audit's files. Append only: a migration that was released is never changed."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

audit = Migrations("mitmesh.audit")
content = Migrations("mitmesh.content")
access = Migrations("mitmesh.access")
quota = Migrations("mitmesh.quota")

_EXCHANGES: dict[str, type] = {
    "id": str,
    "started": str,
    "turn": int,
    "worker": int,
    "team": str,
    "user": str,
    "tool": str,
    "tool_version": str,
    "namespace": str,
    "service_account": str,
    "pod": str,
    "process": str,
    "identity_sources": str,
    "session": str,
    "client": str,
    "user_agent": str,
    "account_hash": str,
    "credential_hash": str,
    "via": str,
    "provider": str,
    "host": str,
    "model": str,
    "operation": str,
    "dialect": str,
    "stream": int,
    "history_at_provider": str,
    "request_bytes": int,
    "uninspected_bytes": int,
    "inspected": str,
    "traceparent": str,
    "policy_version": str,
    "status": int,
    "origin": str,
    "billing": str,
    "outcome": str,
    "forwarded": int,
    "refused_by": str,
    "refused_rule": str,
    "route": str,
    "answer_model": str,
    "finish_reason": str,
    "error": str,
    "prompt_tokens": int,
    "completion_tokens": int,
    "cache_read_tokens": int,
    "cache_write_5m_tokens": int,
    "cache_write_1h_tokens": int,
    "reasoning_tokens": int,
    "estimated": int,
    "cost_microusd": int,
    "notional_microusd": int,
    "first_token_ms": float,
    "total_ms": float,
    "own_ms": float,
    "stage_ms": str,
    "response_bytes": int,
}

_DAILY = """
select substr(started, 1, 10) as day, team, provider, model, count(*) as exchanges, sum(outcome = 'refused') as refused,
    sum(prompt_tokens) as prompt_tokens, sum(completion_tokens) as completion_tokens,
    sum(cost_microusd) / 1e6 as cost_usd, sum(notional_microusd) / 1e6 as notional_usd,
    sum(cost_microusd is null and notional_microusd is null and prompt_tokens is not null) as unpriced
from exchanges group by 1, 2, 3, 4
"""

_REFUSALS = """
select exchanges.id, exchanges.started, exchanges.team, exchanges.user, exchanges.tool, exchanges.model,
    verdicts.stage, verdicts.rule_id, verdicts.mode, verdicts.reason
from verdicts join exchanges on exchanges.id = verdicts.exchange where verdicts.action = 'refuse'
"""

_CONVERSATIONS = """
select exchange, direction, position, exchange_messages.role, exchange_messages.chars, messages.text
from exchange_messages left join messages on messages.id = exchange_messages.message
order by exchange, direction desc, position
"""


_EXCHANGE_MESSAGES = """
select exchange, direction, position, role, chars, message, tool from own_messages union all
select exchange, 'request', said.key, said.value ->> 0, said.value ->> 1, said.value ->> 2, null
from exchange_histories join histories on histories.id = exchange_histories.history,
    json_each(histories.messages) as said
"""


@audit(name="001_workers")
def workers(db: Database) -> None:
    """The processes that write here; the start of one closes what dead ones left open."""
    db.create_table("workers", {"id": int, "pid": int, "started": str, "ended": str}, pk="id")


@audit(name="002_exchanges")
def exchanges(db: Database) -> None:
    """One row per LLM call. Unknown is NULL; money is micro-dollars, sizes bytes, durations milliseconds."""
    table = db.create_table("exchanges", _EXCHANGES, pk="id")
    table.create_index(["started"])
    table.create_index(["team", "started"])
    table.create_index(["model", "started"])
    table.create_index(["session", "turn"])
    db.execute("create index idx_exchanges_open on exchanges (worker) where outcome is null")


@audit(name="003_verdicts")
def verdicts(db: Database) -> None:
    """What stages decided, in order."""
    columns = ("exchange", "position", "stage", "action", "rule_id", "mode", "reason", "policy_version")
    kinds: dict[str, type] = dict.fromkeys(columns, str) | {"position": int}
    table = db.create_table(
        "verdicts", kinds, pk=("exchange", "position"), foreign_keys=[("exchange", "exchanges", "id")]
    )
    table.create_index(["rule_id", "exchange"])


@audit(name="004_connections")
def connections(db: Database) -> None:
    """One row per connection; those only tunnelled are counted per host and day."""
    columns = ("started", "client", "host", "port", "sni", "kind", "rule_id", "detail")
    kinds: dict[str, type] = {"id": int, **dict.fromkeys(columns, str), "port": int}
    table = db.create_table("connections", kinds, pk="id")
    table.create_index(["started"])
    table.create_index(["host", "started"])
    db.create_table("tunnels", {"day": str, "host": str, "connections": int}, pk=("day", "host"))


@audit(name="005_views")
def views(db: Database) -> None:
    """What people ask first."""
    db.create_view("daily", _DAILY)
    db.create_view("refusals", _REFUSALS)


@audit(name="006_who")
def who(db: Database) -> None:
    """The virtual key's id, the caller's tier, and what runs its pod."""
    table = db.table("exchanges")
    for name in ("key_id", "tier", "owner"):
        table.add_column(name, str)


@audit(name="007_cache")
def cached(db: Database) -> None:
    """What the cache had for a call: the layer (exact, semantic, miss, off) and why it was off; of a hit its source,
    its age in seconds, the cosine, and what it saved. `vendor_saved_microusd` is what a provider's own prompt cache
    saved (less than nothing where writing to it cost more)."""
    columns = {"cache": str, "cache_reason": str, "cache_source": str, "cache_age_s": int, "cache_similarity": float}
    money = {"cache_saved_microusd": int, "vendor_saved_microusd": int}
    for name, kind in {**columns, **money}.items():
        db["exchanges"].add_column(name, kind)  # type: ignore[union-attr]


@content(name="001_messages")
def messages(db: Database) -> None:
    """Each message once, with its full-text index. The integer key keeps an exchange's list of messages small."""
    table = db.create_table(
        "messages",
        {"id": int, "hash": str, "role": str, "text": str, "first_seen": str},
        pk="id",
        not_null={"hash", "role", "text"},
    )
    table.create_index(["hash"], unique=True)
    table.enable_fts(["text"], create_triggers=True)


@content(name="002_exchange_messages")
def exchange_messages(db: Database) -> None:
    """Which messages an exchange had, in order. `message` is NULL where only sizes and roles are kept."""
    db.execute(
        "create table exchange_messages (exchange text not null, direction text not null, position integer not null,"
        " role text not null, chars integer not null, message integer references messages(id),"
        " primary key (exchange, direction, position)) without rowid"
    )
    db.execute("create index idx_exchange_messages_message on exchange_messages (message) where message is not null")
    db.create_view("conversations", _CONVERSATIONS)


@content(name="003_tool")
def tool(db: Database) -> None:
    """The tool that an answer's message calls, where its text is kept: the first line of that, redacted as it is."""
    db.execute("alter table exchange_messages add column tool text")
    db.execute("drop view conversations")
    db.create_view("conversations", _CONVERSATIONS.replace("messages.text\n", "messages.text, tool\n"))


@content(name="004_own_messages")
def own_messages(db: Database) -> None:
    """Messages of an exchange that are in no history: the last of its request, and those of its answer."""
    db.execute("drop view conversations")
    db.execute("alter table exchange_messages rename to own_messages")


@content(name="005_histories")
def histories(db: Database) -> None:
    """What requests begin with, each once, as a JSON list of role, characters and message. A history goes on from its
    `parent`; `history_messages` has what it adds to that."""
    db.execute(
        "create table histories (id integer primary key, hash text not null unique,"
        " parent integer references histories(id), messages text not null)"
    )
    db.execute("create index idx_histories_parent on histories (parent) where parent is not null")
    db.execute(
        "create table history_messages (message integer not null references messages(id),"
        " history integer not null references histories(id), primary key (message, history)) without rowid"
    )
    db.execute("create index idx_history_messages_history on history_messages (history)")
    db.execute(
        "create table exchange_histories (exchange text primary key,"
        " history integer not null references histories(id)) without rowid"
    )
    db.execute("create index idx_exchange_histories_history on exchange_histories (history)")


@content(name="006_exchange_messages")
def all_messages(db: Database) -> None:
    """Which messages an exchange had, in order of their position. `message` is NULL where only sizes and roles are
    kept."""
    db.create_view("exchange_messages", _EXCHANGE_MESSAGES)
    db.create_view("conversations", _CONVERSATIONS.replace("messages.text\n", "messages.text, tool\n"))


@access(name="001_reads")
def reads(db: Database) -> None:
    """Who read content, when, and what they asked for. Rows are added, never changed and never deleted."""
    columns = ("at", "name", "role", "shown_by", "asked")
    kinds: dict[str, type] = {"id": int, **dict.fromkeys(columns, str)}
    db.create_table("reads", kinds, pk="id", not_null=set(columns))
    for change in ("update", "delete"):
        db.execute(
            f"create trigger reads_no_{change} before {change} on reads"
            " begin select raise(abort, 'the record of reads is append-only'); end"
        )


@quota(name="001_ledger")
def ledger(db: Database) -> None:
    """What is used and reserved by limit, subject and slot of time; who holds what of it; what was granted.

    `calls` are those that run, with the end of their lease; `holds` what each has set aside: `sunk` is spent whatever
    becomes of it, `rest` may be, `charged` is spent already. All amounts are integers in their limit's smallest unit.
    """
    db.execute(
        "create table counts (key text, slot integer, used integer not null, reserved integer not null, "
        "expires integer not null, primary key (key, slot)) without rowid"
    )
    db.execute(
        "create table calls (id text primary key, lease integer not null, lapsed integer not null) without rowid"
    )
    db.execute(
        "create table holds (call text, key text, slot integer not null, sunk integer not null, rest integer not null, "
        "charged integer not null, primary key (call, key)) without rowid"
    )
    db.execute(
        "create table grants (id text primary key, limit_id text not null, subject text not null, "
        "amount integer not null, expires integer not null, reason text not null, by text not null) without rowid"
    )


@quota(name="002_deferred")
def deferred(db: Database) -> None:
    """What was charged for answers that are made later, as JSON, by a hash of their id; until when it is kept."""
    db.execute(
        "create table deferred (answer text primary key, told text not null, expires integer not null) without rowid"
    )


@quota(name="003_steps")
def steps(db: Database) -> None:
    """What sessions did more than once, by worker, as keyed hashes; when, as JSON, and until when it matters."""
    db.execute(
        "create table steps (session text, worker text, step text, sketch text not null, times text not null, "
        "expires integer not null, primary key (session, worker, step)) without rowid"
    )
    db.execute("create index steps_expires on steps (expires)")


@quota(name="004_units_of_grants")
def units_of_grants(db: Database) -> None:
    """A grant is for what is counted in its limit's unit of that time, and for no other."""
    db.execute("alter table grants add column unit text not null default ''")


@quota(name="005_shares")
def shares(db: Database) -> None:
    """What was spent of shares while Redis was away, by the share's name there; `key` names its count, `kept` is when
    its worker was last heard of."""
    db.execute(
        "create table shares (name text primary key, key text not null, spent integer not null, "
        "kept integer not null) without rowid"
    )


keys = Migrations("mitmesh.keys")


@keys(name="001_keys")
def _keys(db: Database) -> None:
    """Virtual keys (scripts/keys). `hash` is a keyed hash: the key itself is nowhere. Times are seconds since 1970;
    `scopes` (operations) and `models` are JSON lists, empty for any."""
    columns: dict[str, type] = {
        "id": str, "hash": str, "team": str, "user": str, "tier": str, "scopes": str, "models": str, "created": int,
        "expires": int, "revoked": int, "note": str,
    }  # fmt: skip
    db.create_table("keys", columns, pk="id", not_null={"hash"}).create_index(["hash"], unique=True)
