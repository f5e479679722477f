"""The first questions people ask of the audit, as SQL: on the front page, and as Datasette's canned queries.

`:since` is a moment in ISO 8601, or its beginning (a day); empty is all time. Money is dollars: `cost_usd` was paid for
by the token, `notional_usd` is what a subscription's calls would have cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from mitmesh.store.histories import LATEST

_SUMS = """count(*) as calls, sum(prompt_tokens) as prompt_tokens, sum(completion_tokens) as completion_tokens,
    sum(cost_microusd) / 1e6 as cost_usd, sum(notional_microusd) / 1e6 as notional_usd"""


@dataclass(frozen=True)
class Question:
    """One question: what it asks in words, and how."""

    title: str
    sql: str
    about: str = ""


CALLER = (
    "coalesce(team || '|', '') || coalesce(user || '|', '') || "
    "coalesce(account_hash, case when team is null and user is null then client else '' end)"
)
"""Who calls, as far as known: what tells the sessions of two callers apart who claim the same name."""

AUDIT = {
    "spend_by_day": Question(
        "What was spent, by day",
        f"select substr(started, 1, 10) as day, {_SUMS}\nfrom exchanges where started >= :since group by 1 order by 1",
        "Days are UTC.",
    ),
    "spend_by_team": Question(
        "What was spent, by team",
        f"select coalesce(team, '(no team)') as team, {_SUMS}\nfrom exchanges where started >= :since"
        " group by 1 order by coalesce(sum(cost_microusd), 0) + coalesce(sum(notional_microusd), 0) desc, calls desc",
    ),
    "spend_by_model": Question(
        "What was spent, by model",
        f"select model, group_concat(distinct provider) as providers, {_SUMS}\n"
        "from exchanges where started >= :since and model <> '' group by 1\n"
        "order by coalesce(sum(cost_microusd), 0) + coalesce(sum(notional_microusd), 0) desc, calls desc",
    ),
    "new_callers": Question(
        "Who is new",
        "select min(started) as first_seen, team, user, tool, namespace, client, count(*) as calls,\n"
        "    sum(cost_microusd) / 1e6 as cost_usd, max(id) as exchange\n"
        "from exchanges group by team, user, tool, namespace, client having min(started) >= :since"
        " order by first_seen desc",
        "Callers whose very first call lies in this time.",
    ),
    "refusals": Question(
        "What was refused, or would have been",
        "select verdicts.rule_id, verdicts.stage, verdicts.mode, count(*) as calls, max(exchanges.started) as latest,\n"
        "    verdicts.reason, max(exchanges.id) as exchange\n"
        "from exchanges join verdicts on verdicts.exchange = exchanges.id\n"
        "where verdicts.action = 'refuse' and exchanges.started >= :since group by 1, 2, 3 order by calls desc",
        "Mode `observe`: it would have been refused, and was let go.",
    ),
    "slowest": Question(
        "Slowest calls",
        "select id as exchange, started, team, model, first_token_ms, total_ms, own_ms\n"
        "from exchanges where started >= :since and total_ms is not null and operation <> 'models'\n"
        "order by total_ms desc limit 50",
        "`own_ms` of the total was spent in mitmesh, the rest at the provider and on the way.",
    ),
    "most_tokens": Question(
        "Calls with the most tokens",
        "select id as exchange, started, team, tool, model, prompt_tokens, cache_read_tokens, completion_tokens,\n"
        "    cost_microusd / 1e6 as cost_usd\n"
        "from exchanges where started >= :since and prompt_tokens is not null\n"
        "order by prompt_tokens + completion_tokens desc limit 50",
    ),
    "not_inspected": Question(
        "What was not inspected",
        "select host, dialect, inspected, count(*) as calls, sum(uninspected_bytes) as uninspected_bytes,\n"
        "    max(id) as exchange\n"
        "from exchanges where started >= :since and coalesce(outcome, '') <> 'refused'\n"
        "    and (inspected <> 'full' or uninspected_bytes > 0)\n"
        "group by 1, 2, 3 order by uninspected_bytes desc",
        "Calls to LLM hosts that we read in part (images, audio, encrypted reasoning) or not at all, and let go.",
    ),
    "not_decrypted": Question(
        "LLM hosts' connections that carried no call we could read",
        "select host, kind, rule_id, count(*) as connections, max(started) as latest from connections\n"
        "where started >= :since and kind not in ('decrypted', 'tunnelled') group by 1, 2, 3 order by connections desc",
        "Refused, failed, or the client did not trust our certificate.",
    ),
    "tunnelled": Question(
        "Hosts that were only tunnelled",
        "select host, sum(connections) as connections, max(day) as latest from tunnels\n"
        "where day >= substr(:since, 1, 10) group by 1 order by connections desc",
        "Never decrypted: no LLM hosts, or tunnelled by a rule.",
    ),
    "telemetry": Question(
        "The tools' telemetry",
        "select host, tool, count(*) as calls, sum(request_bytes) as sent_bytes, max(started) as latest,\n"
        "    sum(outcome = 'refused') as refused\n"
        "from exchanges where provider = 'telemetry' and started >= :since group by 1, 2 order by sent_bytes desc",
        "What coding tools report to their makers; it may quote prompts.",
    ),
    "errors": Question(
        "What went wrong, and whose error it was",
        "select outcome, origin, status, error, provider, count(*) as calls, max(id) as exchange\n"
        "from exchanges where started >= :since and outcome is not null"
        " and (outcome not in ('answered', 'refused') or status >= 400 and outcome = 'answered')\n"
        "group by 1, 2, 3, 4, 5 order by calls desc",
    ),
    "unpriced": Question(
        "Models without a known price",
        "select provider, model, count(*) as calls, sum(prompt_tokens + completion_tokens) as tokens\n"
        "from exchanges where started >= :since and prompt_tokens is not null and cost_microusd is null\n"
        "    and notional_microusd is null group by 1, 2 order by tokens desc",
        "Unknown is not 0: add them to rules/local/prices.yaml.",
    ),
    "prompt_caching": Question(
        "How much of the prompts came from the providers' prompt caches",
        "select model, sum(prompt_tokens) as prompt_tokens, sum(cache_read_tokens) as cache_read_tokens,\n"
        "    round(100.0 * sum(cache_read_tokens) / sum(prompt_tokens), 1) as percent\n"
        "from exchanges where started >= :since and prompt_tokens > 0 group by 1 order by prompt_tokens desc",
    ),
    "redactions": Question(
        "What was redacted",
        "select verdicts.rule_id, verdicts.mode, count(*) as calls, max(exchanges.started) as latest,\n"
        "    verdicts.reason, max(exchanges.id) as exchange\n"
        "from exchanges join verdicts on verdicts.exchange = exchanges.id\n"
        "where verdicts.action = 'redact' and exchanges.started >= :since group by 1, 2, verdicts.reason"
        " order by calls desc",
    ),
    "sessions": Question(
        "Agents' sessions",
        f"select session, {CALLER} as caller,\n"
        "    min(started) as first, max(started) as last, max(team) as team, max(user) as user,\n"
        f"    max(tool) as tool, group_concat(distinct model) as models, {_SUMS},\n"
        "    sum(cache_read_tokens) as cache_read_tokens, sum(outcome = 'refused') as refused,\n"
        "    sum(outcome is null) as running\n"
        "from exchanges where session is not null and started >= :since group by 1, 2 order by last desc limit 200",
        "A session is what the tool names so itself, for each caller apart: others could claim the same name. Calls "
        "without one are each their own.",
    ),
}
"""Of audit.db: everybody who may log in."""

CONTENT = {
    "search": Question(
        "Full-text search",
        "select messages.role, snippet(messages_fts, 0, '[', ']', '…', 24) as found,\n"
        f"    {LATEST} as exchange,\n    first_seen\n"
        "from messages_fts join messages on messages.id = messages_fts.rowid\n"
        "where messages_fts match search_words(:words) order by messages_fts.rank limit 100",
        'Words of prompts and answers, best first. SQLite\'s syntax: `one OR two`, `"a phrase"`, `begin*`.',
    ),
    "tools": Question(
        "Which tools were called",
        "select tool, count(*) as calls, max(exchange) as exchange from own_messages\n"
        "where tool is not null group by 1 order by calls desc",
        "By the answers whose text is kept.",
    ),
}
"""Of content.db: auditors."""

ACCESS = {
    "who_read_content": Question(
        "Who read content",
        "select name, role, count(*) as reads, min(at) as first, max(at) as latest from reads\n"
        "where at >= :since group by 1, 2 order by latest desc",
    ),
}
"""Of access.db: auditors."""

TOTALS = """
select count(*) as calls, sum(outcome = 'refused') as refused, sum(outcome is null) as running,
    sum(cost_microusd) as cost, sum(notional_microusd) as notional, sum(prompt_tokens) as prompt,
    sum(completion_tokens) as completion, sum(cache_read_tokens) as cache_read, sum(estimated) as estimated,
    sum(prompt_tokens is not null and cost_microusd is null and notional_microusd is null) as unpriced,
    sum(inspected <> 'full' and coalesce(outcome, '') <> 'refused') as not_inspected,
    sum(case when coalesce(outcome, '') <> 'refused' then uninspected_bytes end) as uninspected_bytes,
    count(distinct session) as sessions, sum(own_ms) / count(own_ms) as own_ms
from exchanges where started >= :since
"""
OBSERVED = """
select count(distinct exchange) as calls from verdicts
where action = 'refuse' and mode = 'observe' and exchange >= :since_id
"""
SESSION = f"""
select *, {CALLER} as caller from exchanges
where session = :session and (:caller = '' or {CALLER} = :caller) order by id limit 500
"""
CALL = "select * from exchanges where id = :id"
VERDICTS = "select * from verdicts where exchange in (select value from json_each(:ids)) order by exchange, position"
MESSAGES = """
with wanted(exchange) as (select value from json_each(:ids)), said as (
    select own_messages.* from wanted join own_messages using (exchange) union all
    select exchange, 'request', said.key, said.value ->> 0, said.value ->> 1, said.value ->> 2, null
    from wanted join exchange_histories using (exchange) join histories on histories.id = history,
        json_each(histories.messages) as said
)
select said.*, messages.text from said left join messages on messages.id = said.message
order by exchange, direction desc, position
"""
