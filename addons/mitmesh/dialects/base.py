"""What a wire format has to tell the rest of the house.

A dialect is where all knowledge of one wire format lives. It reads a parsed request into a `Call`, a parsed answer or
the events of a stream into an `Answer`, and writes answers and errors in its own shape, so that the providers' SDKs
take them for the provider's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from mitmesh.dialects.parts import Parts

type Path = tuple[str | int, ...]
"""Where a value lies in a JSON document: keys and indices from the root."""

type Headers = MutableMapping[str, str]
"""HTTP headers, names in lower case."""


class DialectError(ValueError):
    """The document does not have the shape this dialect requires; the message says which field, never its value."""


class Operation(StrEnum):
    """What a call asks for; OpenTelemetry's `gen_ai.operation.name` values where they exist."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    COUNT_TOKENS = "count_tokens"
    MODELS = "models"
    OTHER = "other"


class Provenance(StrEnum):
    """Who wrote a text of a request."""

    SYSTEM = "system"
    TOOL_DEFINITION = "tool_definition"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    DOCUMENT = "document"
    METADATA = "metadata"


class Framing(StrEnum):
    """How an answer's body is cut into events; NONE is one JSON document, AWS the binary event stream of Bedrock."""

    NONE = "none"
    SSE = "sse"
    JSON_ARRAY = "json_array"
    NDJSON = "ndjson"
    AWS = "aws"


@dataclass(slots=True)  # not frozen, which costs three times as much to make: a request has hundreds
class Text:
    """One text position of a request: a string value, where it lies, and who wrote it.

    `message` numbers the message it belongs to, in conversation order (system 0, tools next, then the messages);
    metadata is -1. `is_json` says that the string is itself a JSON document (tool-call arguments).
    """

    path: Path
    provenance: Provenance
    text: str
    message: int = -1
    is_json: bool = False


@dataclass(slots=True)
class Call:
    """What a request says, in the words of the house.

    `texts` are in conversation order whatever the byte order. `session`, `account` and `client_version` are what the
    client claims of itself. `history_at_provider` is the id of an earlier answer or conversation the provider keeps.
    `opaque_bytes` counts what is carried but not read: images, audio, encrypted reasoning (bytes as on the wire), and,
    `token_bytes` of them, prompts that are given as the numbers of `token_ids` tokens.
    """

    operation: Operation
    model: str | None = None
    stream: bool = False
    max_tokens: int | None = None
    tools: list[str] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    session: str | None = None
    account: str | None = None
    history_at_provider: str | None = None
    opaque_bytes: int = 0
    token_ids: int = 0
    token_bytes: int = 0
    claimed: str | None = None
    """The model that its body names where it is another, in its path, that serves it (Azure)."""
    others: tuple[str, ...] = ()
    """Further models that it names, any of which may serve it (see fallbacks)."""

    @property
    def models(self) -> tuple[str, ...]:
        """All models that it names, its own first."""
        own = () if self.model is None else (self.model,)
        return own + tuple(name for name in self.others if name != self.model) if self.others else own


@dataclass(slots=True)
class Usage:
    """Tokens of one call. `prompt` is all input, cache reads and writes included; `completion` is all output,
    reasoning included. `estimated` says that we counted, because the provider did not say."""

    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """All tokens of the call."""
        return self.prompt + self.completion


class Kind(StrEnum):
    """What a part of an answer is."""

    TEXT = "text"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    REFUSAL = "refusal"
    OPAQUE = "opaque"


@dataclass(slots=True)
class OutputItem:
    """An item of an answer under way, where the API has such (Responses): its place, what it is called, is it whole?"""

    index: int
    names: dict[str, str]
    whole: bool = False


@dataclass(slots=True)
class Part:
    """One part of an answer. For a tool call `text` is the arguments as JSON text, `name` and `call_id` its own. `item`
    is the one that it is of, until the answer is whole."""

    kind: Kind
    text: str = ""
    name: str | None = None
    call_id: str | None = None
    item: OutputItem | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class Answer:
    """What a provider said, whole or so far.

    `complete` is true once the dialect's own end was seen (a finish reason and the closing event of a stream).
    `finish` is the provider's word for why it ended, `stopped_by` the stop sequence it ended with (Anthropic says it).
    `error` is the provider's error type or code, never its message. `beyond` says that there is more in it than is read
    (citations, further choices, signatures ...): what is rendered of it is less than it was. `open` are the choices
    (candidates) that began and have no finish reason yet, by their index.
    """

    id: str | None = None
    model: str | None = None
    parts: list[Part] = field(default_factory=list)
    finish: str | None = None
    usage: Usage | None = None
    error: str | None = None
    complete: bool = False
    stopped_by: str | None = None
    beyond: bool = False
    open: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The visible text, parts joined by newlines."""
        return "\n".join(part.text for part in self.parts if part.kind is Kind.TEXT)


@dataclass(slots=True)  # not frozen, for the same reason
class AnswerText:
    """One text position of an answer or of one stream event.

    `channel` names the text it continues: events with the same channel, joined in order, are one text
    (choice 0's content; the arguments of tool call 2); an empty one is that of a text that comes whole. `is_json`: what
    is joined is itself a JSON document.
    """

    path: Path
    channel: str
    kind: Kind
    text: str
    is_json: bool = False


@dataclass(slots=True, frozen=True)
class Event:
    """One event of a stream: `raw` is its exact bytes (framing included), `data` its payload, `name` SSE's event name.

    The raws of a stream, joined, are the stream. `data` is empty for comments and keep-alives.
    """

    raw: bytes
    data: bytes = b""
    name: str | None = None


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a call is not served: HTTP `status`, `type` (a short snake_case word), `message` for people, `code` the
    rule's id, and the exchange's id. `retry_after` in seconds, or None where trying again is of no use."""

    status: int
    type: str
    message: str
    code: str
    exchange: str
    retry_after: int | None = None


class AnswerReader(Protocol):
    """Builds one Answer from the events of one stream. Never raises on what a provider may send: what it does not
    know it leaves out. Text kept is bounded by `limit` bytes given at its making; beyond it `answer.parts` stop
    growing and `cut` is true."""

    answer: Answer
    cut: bool
    parts: Parts

    def feed(self, event: Event, doc: Any) -> None:
        """Take one event; `doc` is `event.data` parsed, or None where it is no JSON (`[DONE]`, a comment)."""

    def finish(self) -> None:
        """The stream ended, at its own end or not."""


class Dialect:
    """One wire format. Stateless: one instance serves all calls."""

    name: ClassVar[str]
    """As in rules/hosts.yaml and the audit."""
    one_at_a_time: ClassVar[bool] = False
    """Does a text of a stream end where an event goes on with another, and says nothing of it?"""
    native: ClassVar[str]
    """The provider whose own format this is: a client's credential goes to that one alone."""

    def read(self, doc: Any, path: str, headers: Mapping[str, str]) -> Call:
        """A request as a Call. `doc` is the parsed body (None for a request without one), `path` the request's path
        with its query string. Raises DialectError for a shape no provider would take (and only then: what is merely
        unknown is read as far as it goes, and every string in it is still a text position)."""
        raise NotImplementedError

    def framing(self, call: Call, path: str) -> Framing:
        """How the answer of this call will be cut, known from the request alone."""
        raise NotImplementedError

    def read_answer(self, doc: Any) -> Answer:
        """A whole JSON answer, an error one too. Never raises: what is malformed gives an incomplete Answer."""
        raise NotImplementedError

    def reader(self, limit: int = 8_000_000) -> AnswerReader:
        """A reader for one stream; `limit` in bytes of text kept."""
        raise NotImplementedError

    def answer_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of a whole JSON answer."""
        raise NotImplementedError

    def event_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of one stream event's parsed payload."""
        raise NotImplementedError

    def ends(self, doc: Any) -> list[str]:
        """The channels that get no more text after this event (`doc` None: the stream's end mark): a name stands for
        itself and for all that begin with it and a dot, "" for all."""
        return [] if doc is not None else [""]

    def more(self, doc: Any, path: Path, text: str) -> Any:
        """An event's payload that carries on the text which lies at `path` of `doc`, and says nothing else."""
        return only(doc, path, text)

    def structured(self, doc: Any) -> bool:
        """Does this request ask for an answer whose visible text is a JSON document?"""
        return False

    def keeps(self, doc: Any) -> bool:
        """May the provider keep this call, so that a later one can refer to it by the answer's id?"""
        return False

    def render(self, answer: Answer) -> bytes:
        """The answer as this dialect's JSON body."""
        raise NotImplementedError

    def render_stream(self, answer: Answer, *, framing: Framing = Framing.SSE, usage: bool = True) -> Iterator[bytes]:
        """The answer as this dialect's stream, an event an item, its text word by word. `usage`: also where the
        client has to ask for it (OpenAI's `include_usage`)."""
        raise NotImplementedError

    def refusal(self, refusal: Refusal, path: str = "") -> bytes:
        """A refusal as this dialect's JSON error body, at this path (with its query)."""
        raise NotImplementedError

    def stream_error(self, refusal: Refusal, *, framing: Framing = Framing.SSE, last: Any = None) -> bytes:
        """A refusal as the last event of a stream that has begun; `last` as for `stop`, where that came before."""
        raise NotImplementedError

    def stop(self, answer: Answer, last: Any, *, framing: Framing = Framing.SSE) -> bytes:
        """The events that finish a stream before its time, as one that ran out of tokens: `answer` is what was said so
        far, `last` the payload of the event that is not delivered any more. An error's event may follow."""
        return b""

    def cap_output(self, doc: Any, most: int, provider: str, path: str = "") -> tuple[Path, Any] | None:
        """The one value to set `(path, value)` so that the answer has at most so many tokens, or None where it cannot
        be said."""
        return None

    def choices(self, doc: Any) -> int:
        """How many answers it asks for at once."""
        return 1

    def ask_usage(self, doc: Any) -> tuple[Path, Any] | None:
        """The one value to set `(path, value)` that makes a stream carry its usage, or None where it does so by
        itself or was asked already."""
        return None

    def only_usage(self, doc: Any) -> bool:
        """Is this stream event there only because `ask_usage` asked for it?"""
        return False


_STAYS = frozenset({"type", "jsonPath"})


def only(doc: Any, path: Path, text: str, *, top: bool = True) -> Any:
    """`doc` with `text` at `path`, and of all else only what says where that belongs: at the top every plain value,
    further down numbers and the names in _STAYS. (Ids and names there are joined by SDKs to those that came before.)"""
    if not path:
        return text
    key = path[0]
    if isinstance(doc, list) and isinstance(key, int):
        return [only(doc[key], path[1:], text, top=top)]
    kept = {
        name: value
        for name, value in doc.items()
        if value is None or isinstance(value, (int, float)) or (isinstance(value, str) and (top or name in _STAYS))
    }
    return {**kept, key: only(doc[key], path[1:], text, top=False)}
