"""Values that only the name of their member gives away, in every place where a member's value is a text of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mitmesh.dialects.base import Provenance, Text
from mitmesh.redaction import keyed, search
from mitmesh.redaction.findings import Finding
from mitmesh.redaction.keyed import Keyed, name_of, prefix
from mitmesh.rules.pii import Pii, PiiTerm
from mitmesh.stages.redact import Redact
from redactions import Finder, exchange, sent, shipped_pii

VALUES = {
    "password": "Tr0ub4dor9x",
    "phone": "2125550187",
    "ssn": "219099998",
    "api_key": "9xKq27LmPz83RtWv55Ab1cDe",
    "user": {"mobileNumber": "9876543210"},
    "aws_secret_access_key": "wJalrXUtnFEMIK7MDENGbPxRfiCYzQ1w2e3r4t5y",
    "ssn_int": 218099997,
    "phones": ["2125550188"],
}
SECRET = [
    "Tr0ub4dor9x", "2125550187", "219099998", "9xKq27LmPz83RtWv55Ab1cDe", "9876543210", "wJalrXUtnFEM", "218099997",
    "2125550188",
]  # fmt: skip


class Searching(Finder):
    """The shipped rules, here and now."""

    def __init__(self) -> None:
        super().__init__()
        self.searcher = search.Searcher(shipped_pii())

    def find_now(self, text: str) -> list[Finding]:
        return self.searcher.find(text)


@pytest.fixture(scope="module")
def finder() -> Searching:
    return Searching()


@pytest.fixture
async def stage(tmp_path: Path, finder: Searching) -> Any:
    stage = Redact(tmp_path / "data", finder)
    await stage.start()
    yield stage
    await stage.stop()


def _anthropic(values: Any) -> dict[str, Any]:
    content = [{"type": "tool_use", "id": "t", "name": "f", "input": values}]
    return {"model": "c", "max_tokens": 1, "messages": [{"role": "assistant", "content": content}]}


def _gemini(kind: str, field: str) -> Any:
    return lambda values: {"contents": [{"parts": [{kind: {"name": "f", field: values}}]}]}


@pytest.mark.parametrize(
    ("dialect", "call"),
    [
        ("anthropic", _anthropic),
        ("gemini", _gemini("functionCall", "args")),
        ("gemini", _gemini("functionResponse", "response")),
        ("generic", lambda values: values),
        ("openai_chat", lambda values: {"model": "m", "messages": [], "metadata": values}),
    ],
)
async def test_objects_tell_as_much_as_their_json_text(stage: Redact, dialect: str, call: Any) -> None:
    """A tool's input that is an object is searched as one that is a string would be; the body stays JSON."""
    x = exchange(dialect, call(VALUES))
    await stage.request(x)
    raw = sent(x)
    assert [value for value in SECRET if value.encode() in raw] == []
    assert "<SECRET_1>" in json.dumps(json.loads(raw)) and x.notes["redact"].table.values["SECRET_1"] == SECRET[0]


async def test_forms_and_queries(stage: Redact) -> None:
    """A form's fields and a URL's parameters have names too; a name is no value of the one before it."""
    raw = b"password=Tr0ub4dor9x&phone=2125550187&ssn=219099998&color=green"
    path = "/v1/other?password=Tr0ub4dor9x&phone=2125550187&api_key=9xKq27LmPz83RtWv55Ab1cDe&limit=20"
    x = exchange("generic", raw, path=path, content_type="application/x-www-form-urlencoded")
    await stage.request(x)
    assert sent(x) == b"password=%3CSECRET_1%3E&phone=%3CPHONE_1%3E&ssn=%3CSSN_1%3E&color=green"
    assert x.path == ("/v1/other?password=%3CSECRET_1%3E&phone=%3CPHONE_1%3E&api_key=%3CSECRET_2%3E&limit=20")


async def test_defaults_in_a_tools_schema(stage: Redact) -> None:
    """The default of a parameter stands under the parameter's name."""
    schema = {"type": "object", "properties": {"password": {"type": "string", "default": "Tr0ub4dor9x"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    x = exchange("openai_chat", {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [tool]})
    await stage.request(x)
    assert b"Tr0ub4dor9x" not in sent(x) and b'"default": "<SECRET_1>"' in sent(x)


async def test_names_that_say_nothing_change_nothing(stage: Redact, finder: Searching) -> None:
    """What APIs put beside a telling word is no value; and a text under no telling name is searched as it is."""
    doc = {
        "contact_id": 4839201746, "created": 1732645000, "next_page_token": "CAUQAA", "max_tokens": 4096000,
        "prompt_cache_key": "agent-7f3b2c", "key": "region", "author": "John Smith", "note": "as it is",
    }  # fmt: skip
    x = exchange("generic", doc)
    finder.asked.clear()
    await stage.request(x)
    assert sent(x) == json.dumps(doc).encode()
    assert "as it is" in finder.asked and 'next_page_token: "CAUQAA"' in finder.asked


async def test_numbers_stay_from_turn_to_turn(stage: Redact) -> None:
    """A growing conversation gives the same value the same name, wherever its place is by then."""
    first = _anthropic({"password": "Tr0ub4dor9x"})
    second = _anthropic({"password": "Tr0ub4dor9x"})
    second["messages"].append({"role": "user", "content": [{"type": "text", "text": "Is Tr0ub4dor9x right?"}]})
    one, two = exchange("anthropic", first), exchange("anthropic", second)
    await asyncio.gather(stage.request(one), stage.request(two))
    assert one.notes["redact"].table.values == two.notes["redact"].table.values == {"SECRET_1": "Tr0ub4dor9x"}
    assert b"Is <SECRET_1> right?" in sent(two)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("apiKey", "apiKey: "), ("DB_PASSWORD_2", "DB_PASSWORD_2: "), ("userPhone",
        "phone: "), ("phone_number", "phone: "),
        ("socialSecurityNumber", "ssn: "), ("creditCardNumber", "card: "), ("client_ip", "ip: "), ("contact_id", ""),
        ("pw", "pw: "), ("secret_key_base", "secret_key_base: "), ("API_KEY_PROD", "API_KEY_PROD: "),
        ("content", ""), ("keyboard", ""), ("", ""), ("x" * 500 + "_token", "x" * 54 + "_token: "),
    ],
)  # fmt: skip
def test_telling_names(name: str, said: str) -> None:
    """Its last word tells."""
    assert prefix(name) == said


@pytest.mark.parametrize(
    "value", ["Xk9;vQ2,zL!p", "Xk9vQ2! zL!p7", "aQ7(b<c;d)e9", "aB9kQ2\"b'c!", "k(Xq9!vZ7$p)", "Xq9!vZ7$pL" * 80]
)
def test_the_whole_value(finder: Searching, value: str) -> None:
    """Whatever signs are in it, it is one value, and none of it stays."""
    made = Keyed([Text(("password",), Provenance.USER, value)], [value], [], None)
    [found] = made.found([finder.find_now(made.searched[0])])
    assert [(each.start, each.end) for each in found] == [(0, len(value))]


def test_names_of_places() -> None:
    """The nearest name above a value; lists have their elements' name in the plural."""
    assert name_of(("a", "phones", 3)) == "phone" and name_of(("a", "address", 3)) == "address"
    assert name_of(("properties", "pin", "enum", 0)) == "pin" and name_of((0, 1)) == ""


def test_findings_come_back_to_their_places() -> None:
    """Shifted by what was put before; what lies in that alone is nothing, and the finder's own list stays."""
    made = Keyed([Text(("token",), Provenance.METADATA, "abc")], ["abc"], [], None)
    theirs = [[Finding(0, 5, "X", "x", 1.0), Finding(5, 9, "Y", "y", 1.0), Finding(10, 12, "Z", "z", 1.0)]]
    assert made.searched == ['token: "abc"'] and keyed.prefix("token") == "token: "
    assert made.found(theirs) == [[Finding(0, 1, "Y", "y", 1.0), Finding(2, 3, "Z", "z", 1.0)]]
    assert len(theirs[0]) == 3


async def test_names_that_are_values(stage: Redact) -> None:
    """A value found in a text is one as a member's name too; a value that could be any field's name renames nothing."""
    messages = [{"role": "user", "content": "my password is hunter2zz9Q ; see postgres://bob:content@db.corp.com/x"}]
    doc = {"model": "m", "messages": messages, "metadata": {"hunter2zz9Q": "x", "content": "y", "n": 4155550123}}
    x = exchange("openai_chat", doc)
    await stage.request(x)
    left = json.loads(sent(x))
    name = next(name for name, value in x.notes["redact"].table.values.items() if value == "hunter2zz9Q")
    assert left["metadata"] == {f"<{name}>": "x", "content": "y", "n": 4155550123}
    assert b"hunter2zz9Q" not in sent(x) and "content" in left["messages"][0]


async def test_names_that_are_terms(tmp_path: Path) -> None:
    """A term of the operator's is one as a member's name, though it looks like a field's."""
    pii = Pii(terms=[PiiTerm(id="p", type="PROJECT", words=["bluebird"])], patterns=shipped_pii().patterns)
    finder = Searching()
    finder.searcher = search.Searcher(pii)
    stage = Redact(tmp_path / "data", finder)
    stage.configure(SimpleNamespace(pii=pii))  # type: ignore[arg-type] # all it reads
    await stage.start()
    x = exchange("generic", {"Bluebird": 1, "x": {"bluebird": "Bluebird", "bluebirds": 2}})
    await stage.request(x)
    await stage.stop()
    assert json.loads(sent(x)) == {"<PROJECT_1>": 1, "x": {"<PROJECT_2>": "<PROJECT_1>", "bluebirds": 2}}


async def test_found_once_is_found_in_scripts_without_spaces(stage: Redact) -> None:
    """There a short value is a whole word with letters at its sides."""
    x = exchange("generic", {"a": "my password is hunter2zz9Q", "b": "密码hunter2zz9Q吗", "c": "xhunter2zz9Qx"})
    await stage.request(x)
    assert json.loads(sent(x)) == {"a": "my password is <SECRET_1>", "b": "密码<SECRET_1>吗", "c": "xhunter2zz9Qx"}
