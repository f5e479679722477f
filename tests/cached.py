"""Entries and calls for the tests of the cache."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mitmesh.caching.entry import Entry
from mitmesh.dialects.base import Answer, Kind, Part, Usage
from mitmesh.exchange import Billing, Exchange, Origin, Outcome
from mitmesh.rules import Rules
from mitmesh.rules.cache import Cache as CacheRules
from mitmesh.stages.cache import Cache
from redactions import exchange


def entry(key: bytes | str = b"k", words: str = "Paris.", **fields: Any) -> Entry:
    """A kept answer; a key given as text is made 32 bytes long, its beginning its own."""
    raw = key.encode() if isinstance(key, str) else key
    answer = Answer(model="gpt-4o", parts=[Part(Kind.TEXT, words)], finish="stop", usage=Usage(9, 3), complete=True)
    known = {"exchange": "01ABC", "created": 1000, "tenant": "team:red", "provider": "openai", "model": "gpt-4o"}
    return Entry(raw.ljust(32, b"\0"), answer, **{**known, "cost": 1500, "turn": "Capital of France?", **fields})


def redacted(x: Exchange, clear: bool = False, **values: str) -> Exchange:
    """The call as redaction leaves it, with these values behind its placeholders."""
    x.notes["redact"] = SimpleNamespace(clear=clear, table=SimpleNamespace(values=values))
    return x


def chat(
    *contents: Any, dialect: str = "openai_chat", headers: dict[str, str] | None = None, **fields: Any
) -> Exchange:
    """A chat call, redacted, of the attested team red; `contents` in turn the user's and the assistant's."""
    messages = [{"role": ("user", "assistant")[n % 2], "content": said} for n, said in enumerate(contents or ("hi",))]
    x = exchange(dialect, {"model": "gpt-4o", "messages": messages, **fields}, **(headers or {}))
    x.identity.attest("network", team="red")
    return redacted(x)


def answered(x: Exchange, words: str = "Paris.", **fields: Any) -> Exchange:
    """The call with the provider's whole answer."""
    parts = fields.pop("parts", [Part(Kind.TEXT, words)])
    finish = fields.pop("finish", "end_turn" if x.dialect.name == "anthropic" else "stop")
    x.answer = Answer(model="gpt-4o", parts=parts, finish=finish, complete=True, usage=Usage(9, 3))
    x.forwarded, x.status, x.outcome, x.cost = True, 200, Outcome.ANSWERED, 1500
    for name, value in fields.items():
        setattr(x.answer if hasattr(x.answer, name) else x, name, value)
    return x


class House:
    """A cache stage and its rules."""

    def __init__(self, folder: Path) -> None:
        self.stage, self.rules = Cache(folder), Rules()

    def rule(self, rules: Rules | None = None, **cache: Any) -> None:
        """From now on by these rules, or by these of the cache."""
        self.rules = rules or Rules("v", cache=CacheRules.model_validate(cache))
        self.stage.configure(self.rules)

    async def ask(self, x: Exchange | str | None = None, **headers: str) -> Exchange:
        """A call that comes to the stage."""
        x = x if isinstance(x, Exchange) else chat(x or "Capital of France?")
        x.rules, x.sent_headers, x.billing = self.rules, headers, Billing.METERED
        await self.stage.request(x)
        return x

    def done(self, x: Exchange, **fields: Any) -> Exchange:
        """The call ends as it would: given, or with the provider's answer."""
        if x.reply:
            x.origin, x.status, x.outcome, x.answer = Origin.CACHE, 200, Outcome.ANSWERED, x.reply.answer
        else:
            answered(x, **fields)
        self.stage.response(x)
        self.stage.finish(x)
        return x


def breakpoints(
    *, vendor: bool = True, provider: str = "anthropic", api: str = "anthropic", billing: Billing = Billing.METERED,
    headers: dict[str, str] | None = None, authorization: str = "", rules: dict[str, Any] | None = None, **doc: Any,
) -> Exchange:  # fmt: skip
    """A Messages call in which breakpoints of the prompt cache may be set; fields of its body by keyword."""
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **doc}
    made = Rules("v", cache=CacheRules.model_validate({"vendor": vendor, **(rules or {})}))
    x = exchange("anthropic", body, rules_=made, **({"authorization": authorization} if authorization else {}))
    x.host = x.host.model_copy(update={"provider": provider, "api": api})
    x.billing, x.sent_headers, x.credential = billing, headers or {}, "sk-ant-1"
    return x
