"""Take personal data and secrets out of what leaves, put them back in what returns."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Event, Framing, Operation, Provenance, Text
from mitmesh.exchange import Action, Mode
from mitmesh.redaction import address
from mitmesh.redaction.findings import TooMuch
from mitmesh.redaction.keyed import Keyed
from mitmesh.redaction.keylines import with_lines
from mitmesh.redaction.members import called, members, woven, write_members
from mitmesh.redaction.output import Output, Proxy
from mitmesh.redaction.placeholders import Names, Table
from mitmesh.redaction.policy import Decision, Policy
from mitmesh.redaction.references import MOST, References, bare, made, merged, references
from mitmesh.redaction.replace import Redaction, as_read, redact, views_of
from mitmesh.redaction.report import describe
from mitmesh.redaction.restore import RestoreStream, restore_body
from mitmesh.redaction.restoretext import RestoreText
from mitmesh.redaction.secrets import term
from mitmesh.redaction.signing import CannotSign, is_signed, permit, sign
from mitmesh.redaction.sources import credentials
from mitmesh.redaction.stored import SHORT, Spoken, Withheld, searched_answer, spoken, stored_answer
from mitmesh.redaction.vault import Vault
from mitmesh.rules import Content
from mitmesh.stage import Stage
from mitmesh.store.content import STORED_ANSWER, STORED_TEXTS
from mitmesh.store.keys import Hasher, load_key, make_folder
from mitmesh.useragent import tool_of

if TYPE_CHECKING:
    from mitmesh.dialects.base import Answer
    from mitmesh.exchange import Exchange
    from mitmesh.redaction.findings import Finds
    from mitmesh.rules import Rules
    from mitmesh.rules.pii_return import PiiOutput
    from mitmesh.stage import Rewrite, Transform

_OFF_LOOP, _MANY = 200_000, 100
"""Characters of a call's texts, and findings in them; with more they are rewritten in a thread: that takes more than
a millisecond."""
MODEL, SESSION, USER_AGENT = ("model",), ("session",), ("user_agent",)
_ACTIONS = {"refuse": Action.REFUSE, "allow": Action.ALLOW}


@dataclass(slots=True)
class _State:
    """What the stage keeps of one call: what may be restored, all values that were named (to name), and under which
    caller and conversation they are kept."""

    table: Table
    values: dict[str, str]
    clear: bool = False
    """Was something sent in clear that a rule would have taken out (observe)?"""
    look: tuple[str, PiiOutput] | None = None
    """The caller's text and the rule by which answers are looked at, if they are."""
    structured: bool = False
    caller: str | None = None
    conversation: list[str] = field(default_factory=list)
    kept: bool = False
    settled: bool = False


class Redact(Stage):
    """Finds, replaces and restores. `data` is the folder of the keys and the vault; `finder` does the searching;
    `trust` is a file of CA certificates for providers, `proxy` what leads to them (see Output)."""

    name = "redact"

    def __init__(self, data: Path, finder: Finds, trust: str | None = None, proxy: Proxy | None = None) -> None:
        self.finder, self.vault, self.output = finder, Vault(data), Output(finder, trust, proxy)
        self._data = data
        self._terms: Callable[[str], Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def configure(self, rules: Rules) -> None:
        """Take what to look for and how long to remember from the rules. Raises RulesError."""
        self.finder.configure(rules)
        words = "|".join(term(rule) for rule in rules.pii.terms if rule.type not in rules.pii.skip)
        self._terms = re.compile(words.replace("(?i)", ""), re.IGNORECASE).search if words else None
        self.vault.days, self.vault.rows = rules.pii.vault.days, rules.pii.vault.rows

    async def start(self) -> None:
        """Start the finder, open the vault. Raises what keeps either from working."""
        self._loop = asyncio.get_running_loop()
        make_folder(self._data)
        self._hasher = Hasher(load_key(self._data))
        await asyncio.gather(self.finder.start(), self.vault.start())

    async def stop(self) -> None:
        """End the finder, close the vault."""
        await asyncio.gather(self.output.stop(), self.finder.stop(), self.vault.stop())

    async def request(self, x: Exchange) -> None:
        """Replace what must not leave. A finder that fails raises, and the call is refused."""
        x.notes[STORED_TEXTS] = x.notes[STORED_ANSWER] = Withheld()  # until all is well
        claims = _claims(x)
        self._withhold(x, claims)
        asks = x.operation is Operation.CHAT or not x.dialect.native
        looked_at = asks and x.body and not x.local  # what we say ourselves is no news
        look = None
        if (rule := x.rules.pii.output).action != "allow" and looked_at:
            views = views_of(x.call.texts)
            said = "\0".join([*(text.text for text in x.call.texts), *(view.text for view in views if view)])
            x.local = lambda x: self.output.serve(x, said, rule)
            look = said, rule
        refers, caller = references(x), x.identity.key or x.credential or x.client
        known, names = await self._known(x, refers, caller)
        doc = x.body.doc if x.body else None
        texts, odd = woven(x.call.texts, members(doc, self._terms))
        try:
            beside = [*address.said(x.path), *claims]
        except address.TooManyParameters:
            said = f"The URL has more than {address.MOST} segments or parameters: send fewer, or say it in the body."
            x.refuse(self.name, "pii.url", said, mode=Mode.ENFORCE, status=414, type="too_large")
            return
        own, every = frozenset(range(len(texts))) - odd, [*texts, *beside]
        try:
            redaction, large = await self._redaction(x, every, odd, names)
        except TooMuch as error:
            said = f"The call is too large to be searched for personal data: {error}. Send less at once, or have the "
            said += "operator raise that limit of `finder` in rules/pii.yaml."
            x.refuse(self.name, "pii.too_large", said, mode=Mode.ENFORCE, status=413, type="too_large")
            return
        odd |= set(range(len(texts) + len(beside), len(every)))
        table = Table({**known, **redaction.table})
        state = _State(table, redaction.values, clear=bool(redaction.stored), look=look)
        if state.table:
            state.structured = x.dialect.structured(doc)
            if x.dialect.keeps(doc) or refers.grows or x.operation is Operation.OTHER or not x.dialect.native:
                state.caller, state.conversation = caller, refers.grows
                self.vault.save(caller, refers.grows, table.values)  # the answer may never come
        x.notes[self.name] = state
        if large:
            await asyncio.to_thread(self._write, x, redaction, every, own, odd, render=True)
        else:
            self._write(x, redaction, every, own, odd)
        self._write_beside(x, redaction, dict(enumerate(beside, len(texts))))
        x.edits_stream |= bool(state.table) and x.framing is not Framing.NONE
        if redaction.sent and not x.refusal and is_signed(x.headers, x.path):
            self._sign(x)

    async def _known(self, x: Exchange, refers: References, caller: str) -> tuple[dict[str, str], Names]:
        """The names that texts at the provider have to which this call refers, and those it goes on with."""
        entries = [await self.vault.load(caller, each) for each in refers.all[:MOST]]
        known, unsure = merged([entry for entry in entries if entry is not None])
        first = 1
        if refers.is_upload and x.body:
            first = self.vault.fresh(hashlib.blake2b(x.body.raw).hexdigest())
        elif refers.grows and None in entries[: len(refers.grows)]:
            first = self.vault.fresh(refers.grows[0])
        names = Names(known, first)
        names.reserve(unsure)
        return known, names

    def _withhold(self, x: Exchange, claims: Sequence[Text]) -> None:
        """Show no claim to audit and metrics before it was searched: the search may fail."""
        for claim in claims:
            if self.finder.remembered([claim.text]) != [[]]:
                _show(x, claim, None)

    async def _redaction(
        self, x: Exchange, texts: list[Text], odd: frozenset[int], names: Names
    ) -> tuple[Redaction, bool]:
        """What becomes of these texts; names of members that hold a value found in them are put behind them. Is that so
        much that it must not be written on the event loop?"""
        if not texts:
            return Redaction(), False
        views = views_of(texts)
        read = as_read(texts, views)
        keyed = Keyed(texts, read, (index for index in odd if not texts[index].is_json), x.body)
        found = with_lines(read, keyed.found(await self.finder.find(keyed.searched)))
        values = (text[each.start : each.end] for text, some in zip(read, found, strict=True) for each in some)
        more = called(x.body.doc, values) if x.body else []
        texts += more
        views += [None] * len(more)
        found += [[] for _ in more]
        policy = Policy(x.rules, x.identity, x.provider)
        task = (texts, views, found, policy, names, self._hash)
        large = sum(len(text.text) for text in texts) > _OFF_LOOP or sum(map(len, found)) > _MANY
        return (await asyncio.to_thread(redact, *task) if large else redact(*task)), large

    def _hash(self, value: str) -> str:
        return self._hasher.hash(b"value", value)[:12]

    def _write(
        self, x: Exchange, redaction: Redaction, texts: Sequence[Text], own: Set[int], odd: Set[int], *,
        render: bool = False,
    ) -> None:  # fmt: skip
        """Put the result into the exchange: verdicts, what is sent, what is stored. The texts at `own` are the call's;
        those at `odd` are members of the body, which are no text positions and are not stored. `render`: the body's
        bytes are made here too (it keeps them), for this is a thread."""
        for decision, places in redaction.seen.items():
            self._decide(x, decision, describe(decision, places))
        sent, stored = redaction.sent, redaction.stored
        x.notes[STORED_TEXTS] = {texts[index].path: stored[index] for index in own & stored.keys()}
        # If nothing is sent, nothing else is stored whatever the rules keep.
        for index, new in {**sent, **(stored if x.refusal else {})}.items():
            if index in own:
                texts[index].text = new
        if x.body and not x.refusal:
            for index in own & sent.keys():
                x.body.set(texts[index].path, sent[index])
            write_members(x.body, texts, {index: sent[index] for index in odd & sent.keys()})
            if render:
                x.body.render()

    def _write_beside(self, x: Exchange, redaction: Redaction, beside: dict[int, Text]) -> None:
        """The same for what is said besides the body: the URL, and claims that audit and metrics would show."""
        sent = {text.path: redaction.sent[index] for index, text in beside.items() if index in redaction.sent}
        for index, text in beside.items():
            new = redaction.stored.get(index) or redaction.sent.get(index)
            if text.path == SESSION and new:  # a placeholder would be the same in other sessions
                new = self._hash(text.text)
            _show(x, text, new or text.text)
        for path in (SESSION, USER_AGENT):
            sent.pop(path, None)
        if (new := sent.pop(MODEL, None)) and x.body and isinstance(x.body.doc, dict) and "model" in x.body.doc:
            x.body.set(MODEL, new)
        if sent and not x.refusal:
            x.path = address.rewritten(x.path, sent)

    def _decide(self, x: Exchange, decision: Decision, reason: str) -> None:
        if decision.action == "refuse":
            advice = f"{reason}. The rules refuse that; take it out and try again."
            x.refuse(self.name, decision.rule_id, advice, mode=decision.mode, type="personal_data")
        else:
            action = _ACTIONS.get(decision.action, Action.REDACT)
            x.decide(self.name, action, decision.rule_id, reason, mode=decision.mode)

    def _sign(self, x: Exchange) -> None:
        """The client signed what it sent; sign what is sent now, or refuse."""
        reason = "no credentials to sign it again are configured (`signing` in rules/pii.yaml)"
        if (key := credentials(x.rules.pii.signing)) and x.body:
            try:
                host = permit(x.headers, x.path, x.target, is_bedrock=x.host.provider == "bedrock")
                body = x.body.render()
                x.headers.update(sign(x.method, host, x.path, x.headers, body, key, datetime.now(UTC)))
                return
            except CannotSign as error:
                reason = str(error)
        # Enforced whatever the mode: the provider would refuse it for its signature.
        said = f"Personal data was taken out of this call, so its AWS signature no longer holds, and {reason}."
        x.refuse(self.name, "signed", said, mode=Mode.ENFORCE, type="signed_body")

    async def replayed(self, x: Exchange) -> None:
        """A cached answer is looked at as a provider's is, where the rules ask for it."""
        state: _State | None = x.notes.get(self.name)
        if state and state.look and x.answer_body:
            await self.output.look_at(x, x.answer_body, *state.look)

    def stream(self, x: Exchange) -> Transform | None:
        """Puts the caller's values back, where any were taken out."""
        state: _State | None = x.notes.get(self.name)
        if state is None or not state.table:
            return None
        restore = RestoreStream(x.dialect, state.table, structured=state.structured)
        return _Keeping(restore, lambda doc: self._keep(x, state, doc)) if state.caller else restore

    def response(self, x: Exchange) -> None:
        """The same for a JSON answer; and remember the names where the conversation can go on at the provider."""
        state: _State | None = x.notes.get(self.name)
        if state is None or not state.table:
            return
        self._keep(x, state)
        if x.answer_body:
            # What is no answer to a chat (a list of messages) has its own shape: there every string is a text.
            dialect = DIALECTS["generic"] if x.operation is Operation.OTHER else x.dialect
            restore_body(x.answer_body, dialect, state.table, structured=state.structured)

    def text(self, x: Exchange) -> Rewrite | None:
        """The same for an answer that is a text: a file's content, the results of a batch."""
        state: _State | None = x.notes.get(self.name)
        return RestoreText(state.table) if state and state.table else None

    def _keep(self, x: Exchange, state: _State, doc: Any = None) -> bool:
        """Keep the names for later calls, once the answer's ids are known; true when that is done."""
        if not state.kept and state.caller:
            ids = {bare(x.answer.id)} if x.answer and x.answer.id else set()
            ids |= set(made(x.answer_body.doc if x.answer_body else doc))
            if ids:
                self.vault.save(state.caller, ids - set(state.conversation), state.table.values)
                state.kept = True
        return state.kept

    def needs_settling(self, x: Exchange) -> bool:
        """Is there text of an answer to be shown or stored that was not looked at? What is remembered, it settles."""
        state: _State | None = x.notes.get(self.name)
        if state is None or state.settled or not x.answer:
            return False
        parts = self._spoken(x, x.answer)
        found = self.finder.remembered([part.read for part in parts])
        if found is not None:
            state.settled = True
            x.notes[STORED_ANSWER] = stored_answer(parts, found, state.values)
        return found is None

    def _spoken(self, x: Exchange, answer: Answer) -> list[Spoken]:
        return spoken(answer, texts=x.rules.content(x.identity.team) is Content.REDACTED)

    def settle(self, x: Exchange) -> None:
        """Find out what is stored of the answer: without the caller's values, should some have been sent in clear, and
        without any others. What cannot be searched, for whatever reason, stays withheld."""
        state: _State | None = x.notes.get(self.name)
        if state is None or not self.needs_settling(x):
            return
        state.settled = True
        assert x.answer and self._loop
        x.notes[STORED_ANSWER] = searched_answer(self._spoken(x, x.answer), state.values, self.finder, self._loop)

    def finish(self, x: Exchange) -> None:
        """Show no claims of a call that ended before it came here; an answer that was not settled is withheld."""
        if self.name not in x.notes:
            self._withhold(x, _claims(x))

    def health(self) -> dict[str, Any]:
        """Whether names of people can be found at all, which models are loaded, what failed."""
        finder = self.finder.health()
        said: dict[str, Any] = {"persons": finder.persons, "models": list(finder.models), "detail": finder.detail}
        if not finder.ready:
            said["problem"] = f"the finder does not work: {finder.detail}"
        warnings = [finder.detail] if finder.ready and finder.detail else []
        warnings += [self.vault.warning] if self.vault.warning else []
        warnings += [f"{self.vault.failures} writes to the vault failed"] if self.vault.failures else []
        if warnings:
            said["warning"] = "; ".join(warnings)
        return said


def _claims(x: Exchange) -> list[Text]:
    """What the client says of itself, and audit and metrics would show: the model's and the session's name, the tool
    it is. Only where there is room for a value in it."""
    claims = ((MODEL, x.call.model), (SESSION, x.call.session), (USER_AGENT, x.user_agent))
    return [Text(path, Provenance.METADATA, said) for path, said in claims if said and len(said) > SHORT]


def _show(x: Exchange, claim: Text, said: str | None) -> None:
    """Let a claim be shown as this, None while it is not searched. A tool that a User-Agent with a value in it named is
    no tool's name."""
    if claim.path == USER_AGENT:
        who = x.identity
        if who.sources.get("tool") == "user_agent":
            who.tool, who.tool_version = tool_of(claim.text) if said == claim.text else (None, None)
        x.user_agent = said
    elif claim.path in (MODEL, SESSION):
        setattr(x.call, str(claim.path[0]), said)


class _Keeping:
    """A transform that has the names kept as soon as the answer has an id: the client may go on with it at once."""

    __slots__ = ("_done", "_inner", "_keep")

    def __init__(self, inner: Transform, keep: Callable[[Any], bool]) -> None:
        self._inner, self._keep = inner, keep
        self._done = False

    def event(self, event: Event, doc: Any) -> Sequence[Event] | None:
        """See Transform."""
        self._done = self._done or self._keep(doc)
        return self._inner.event(event, doc)

    def end(self) -> Sequence[Event]:
        """See Transform."""
        return self._inner.end()
