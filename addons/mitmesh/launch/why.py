"""scripts/why: one call, explained from the audit."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

from mitmesh.launch import home, printable
from mitmesh.store import queries

USAGE = "usage: scripts/why ID, or scripts/why last"
WHOSE = {
    "provider": "the provider's own answer",
    "cache": "answered from the cache; no provider was asked",
    "proxy": "mitmesh's own answer; it is not the provider's",
}
ENDED = {
    "answered": "answered in full",
    "refused": "refused; nothing left for the provider",
    "client_gone": "the client went away before the end",
    "upstream_failed": "the provider could not be reached, or gave no answer: the network's or the provider's fault",
    "upstream_cut": "the answer broke off before its end: the provider's or the network's fault",
    "malformed": "the request could not be read as what its path says it is",
    "interrupted": "mitmesh was stopped while it ran",
}


def main(argv: list[str] | None = None) -> None:
    """Exits with one clear line where there is no such call."""
    given = sys.argv[1:] if argv is None else argv
    if len(given) != 1 or given[0].startswith("-"):
        sys.exit(USAGE)
    try:
        wanted = given[0].strip().upper()
        if wanted == "LAST":
            wanted = next((row["id"] for row in queries.recent(home(), 1)), "")
        call = queries.exchange(home(), wanted)
    except sqlite3.OperationalError:
        sys.exit(f"mitmesh: there is no audit in {home()} yet: scripts/run makes it")
    if call is None:
        sys.exit("mitmesh: the audit has no such call: is it the X-Mesh-Id of an answer, and of this MITMESH_HOME?")
    sys.stdout.write("\n".join(map(printable, explain(call))) + "\n")


def explain(call: dict[str, Any]) -> Iterator[str]:
    """Lines for people, of an exchange as `queries.exchange` gives it."""
    ended = call["outcome"]
    yield f"{call['id']}  {call['started']}"
    yield f"  call      {_some(call, 'operation', 'model', 'provider', 'host', 'via')}, dialect {call['dialect']}"
    who = _some(call, "team", "user", "tool", "tool_version", "namespace", "pod", "process")
    yield f"  caller    {who or 'not known'}, from {call['client']}{_sources(call)}"
    yield f"  outcome   {ENDED.get(ended, ended) if ended else 'still open'}{_status(call)}"
    if call["error"]:
        yield f"  error     {call['error']}"
    if call["origin"] and ended:
        yield f"  whose     {_whose(call)}"
    yield f"  left      {'yes' if call['forwarded'] else 'no'}; read by us: {call['inspected']}"
    yield from _cache(call)
    yield from _decisions(call)
    yield from _times(call)
    yield from _usage(call)


def _some(call: dict[str, Any], *names: str) -> str:
    return " ".join(str(call[name]) for name in names if call[name])


def _status(call: dict[str, Any]) -> str:
    return f" (HTTP {call['status']})" if call["status"] else ""


def _sources(call: dict[str, Any]) -> str:
    sources = json.loads(call["identity_sources"] or "{}")
    return f" ({', '.join(f'{name} by {source}' for name, source in sources.items())})" if sources else ""


def _whose(call: dict[str, Any]) -> str:
    """Was it theirs or ours, above all where it is an error?"""
    said = WHOSE.get(call["origin"]) or str(call["origin"])
    if call["outcome"] == "refused":
        return f"{said}: stage {call['refused_by']}, rule {call['refused_rule']}"
    if call["outcome"] == "upstream_failed":
        return "the error the client saw was written by mitmesh, because no answer came"
    if not call["status"]:
        return "nobody's: there was no answer yet"
    if call["origin"] == "provider" and call["status"] >= 400:
        return f"the provider's own error; mitmesh passed it on (request {call['id']} was allowed)"
    return said


def _cache(call: dict[str, Any]) -> Iterator[str]:
    """What the cache had for it: the layer of a hit and whose answer it was, or why there was none."""
    layer = call["cache"]
    if layer in ("exact", "semantic"):
        alike = f", similarity {call['cache_similarity']:.3f}" if call["cache_similarity"] is not None else ""
        saved = call["cache_saved_microusd"]
        money = "; what it saved is unknown" if saved is None else f"; saved ${saved / 1e6:.6f}"
        age = f"{call['cache_age_s']} s old"
        yield f"  cache     {layer} hit{alike}: the answer of {call['cache_source']}, {age}{money}"
    elif layer:
        yield f"  cache     {layer}{': ' + call['cache_reason'] if call['cache_reason'] else ''}"
    if (vendor := call["vendor_saved_microusd"]) is not None:
        yield f"  prompt    the provider's own cache saved ${vendor / 1e6:.6f}"


def _decisions(call: dict[str, Any]) -> Iterator[str]:
    took = json.loads(call["stage_ms"] or "{}")
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for verdict in call["verdicts"]:
        verdicts.setdefault(verdict["stage"], []).append(verdict)
    yield f"  stages    under rules {call['policy_version']}"
    for stage in dict.fromkeys([*took, *verdicts]):
        ms = f"{took[stage]:.2f} ms" if stage in took else "-"
        decided = verdicts.get(stage) or [{"action": "nothing to say", "rule_id": "", "mode": "", "reason": ""}]
        for verdict in decided:
            observed = ", only observed" if verdict["mode"] == "observe" and verdict["action"] == "refuse" else ""
            rule = f" by {verdict['rule_id']}{observed}: {verdict['reason']}" if verdict["rule_id"] else ""
            yield f"    {stage:<10}{ms:>10}  {verdict['action']}{rule}"


def _times(call: dict[str, Any]) -> Iterator[str]:
    if call["total_ms"] is not None:
        first = f", first token after {call['first_token_ms']:.0f}" if call["first_token_ms"] is not None else ""
        yield f"  time      {call['total_ms']:.0f} ms in all{first}; {call['own_ms']:.1f} of them ours"


def _usage(call: dict[str, Any]) -> Iterator[str]:
    if call["prompt_tokens"] is None:
        return
    estimated = " (estimated: the provider gave none)" if call["estimated"] else ""
    yield f"  tokens    {call['prompt_tokens']} in, {call['completion_tokens']} out{estimated}"
    cost, notional = call["cost_microusd"], call["notional_microusd"]
    if cost is not None or notional is not None:
        kind = "" if cost is not None else " notional: a subscription pays"
        yield f"  cost      ${(cost if cost is not None else notional) / 1e6:.6f}{kind} ({call['billing']})"
    else:
        yield f"  cost      unknown: no price for this model ({call['billing']})"


if __name__ == "__main__":
    main()
