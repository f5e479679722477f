"""Breakpoints of Anthropic's prompt cache with the real SDK, against a provider that keeps what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest

from e2e.certs import Authority
from e2e.conftest import reachable
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, wait_for
from e2e.replies import TEXT
from e2e.sdks import KEY
from e2e.test_cache import command

pytestmark = pytest.mark.slow

MARK = {"type": "ephemeral"}
SYSTEM = "You answer questions about the handbook. " + "Each chapter has its own rules. " * 350
"""About 2,800 tokens."""


@pytest.fixture(scope="module")
def marking(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority
) -> Iterator[Mesh]:
    """One mitmesh with the rule on, and redaction."""
    local = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names), "cache.yaml": "vendor: true\n"}
    mesh = Mesh(tmp_path_factory.mktemp("marking"), resolve=names, trust=authority.ca, local=local).start()
    yield mesh
    mesh.stop()


class Talk:
    """One conversation by the SDK."""

    def __init__(self, mesh: Mesh, name: str, stream: bool) -> None:
        way, self.stream = mesh.way("forward-h1"), stream
        self.http = way.client(httpx2, [], asynchronous=False)
        self.client = anthropic.Anthropic(api_key=KEY, base_url=way.base, http_client=self.http, max_retries=0)
        self.system, self.messages = f"{name}. {SYSTEM}", list[dict[str, Any]]()

    def say(self, words: str, **fields: Any) -> tuple[str, Any]:
        """The next turn: the exchange's id and the usage that the SDK reads."""
        self.messages.append({"role": "user", "content": words})
        asked: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 64, "system": self.system, **fields}
        asked["messages"] = self.messages
        if self.stream:
            with self.client.messages.stream(**asked) as stream:
                message, id = stream.get_final_message(), stream.response.headers["x-mesh-id"]
        else:
            raw = self.client.messages.with_raw_response.create(**asked)
            message, id = raw.parse(), raw.headers["x-mesh-id"]
        assert message.content[0].type == "tool_use" or message.content[0].text == TEXT
        self.messages.append({"role": "assistant", "content": TEXT})
        return id, message.usage


@pytest.fixture(params=[False, True], ids=["json", "stream"])
def talk(marking: Mesh, provider: Provider, request: pytest.FixtureRequest) -> Iterator[Talk]:
    talk = Talk(marking, request.node.name, request.param)
    yield talk
    talk.client.close()


def test_a_conversation_is_read_from_the_provider_s_cache(talk: Talk, marking: Mesh, provider: Provider) -> None:
    """The first turn goes as it came, the second is written, the third read; what it saved is in the audit, in
    scripts/cache and in the metrics."""
    said = [talk.say(words) for words in ("first question", "second question", "third question")]
    bodies = [json.loads(call.body) for call in provider.calls]
    assert bodies[0]["system"] == talk.system and "cache_control" not in json.dumps(bodies[0])
    for body in bodies[1:]:
        assert body["system"] == [{"type": "text", "text": talk.system, "cache_control": MARK}]
        marked = [n for n, message in enumerate(body["messages"]) if "cache_control" in json.dumps(message)]
        assert marked == [len(body["messages"]) - 3, len(body["messages"]) - 1]
    usage = [(used.cache_creation_input_tokens or 0, used.cache_read_input_tokens or 0) for _, used in said]
    assert usage[1][0] > 1500 and usage[1][1] == 0
    assert 0 < usage[2][0] < 100 and usage[2][1] == usage[1][0]
    rows = [marking.exchange(id) for id, _ in said]
    assert [row["cache"] for row in rows] == ["miss"] * 3
    assert rows[1]["vendor_saved_microusd"] < 0 < rows[2]["vendor_saved_microusd"]
    read, written = usage[2][1], usage[2][0]
    assert abs(rows[2]["vendor_saved_microusd"] - round(read * 2.7 - written * 0.75)) <= 1  # $3, $0.30, $3.75
    assert "breakpoints of the prompt cache set: system, history, last turn" in command(marking, "why", said[2][0])
    shown = json.loads(command(marking, "cache", "--json"))
    assert shown["vendor_by_rule_microusd"] != 0
    metrics = wait_for(lambda: marking.control("/metrics").decode(), "the metrics")
    assert 'mesh_cache_vendor_saved_usd{breakpoints="mitmesh"}' in metrics


def test_our_own_cache_is_not_misled(talk: Talk, provider: Provider, marking: Mesh) -> None:
    """The same call again is an exact hit, though the first one had no breakpoint and a second one would."""
    first, _ = talk.say("the same question")
    talk.messages.clear()
    again, _ = talk.say("the same question")
    assert marking.exchange(again)["cache_source"] == first
    assert len(provider.calls) == 1


def test_the_client_s_own_stand(talk: Talk, provider: Provider) -> None:
    """Never over four, and the client's bytes are the client's: the provider takes the call."""
    tool = {"name": "t", "description": "d", "input_schema": {"type": "object"}}
    tools = [{**tool, "name": name, "cache_control": MARK} for name in "abc"]
    for words in ("one", "two", "three"):
        talk.say(words, tools=tools, tool_choice={"type": "none"})
    body = json.loads(provider.calls[-1].body)
    assert body["tools"] == tools and body["system"] == talk.system
    assert json.dumps(body["messages"]).count("cache_control") == 1


def test_values_are_taken_out_and_put_back(talk: Talk, provider: Provider) -> None:
    """Breakpoints stand in redacted text; placeholders are the same in each turn, so the provider finds what it has."""
    usage = [talk.say(f"Write to ann{n}@northwind-traders.com")[1] for n in range(3)]
    assert not [call for call in provider.calls if b"northwind" in call.body]
    assert (usage[2].cache_read_input_tokens or 0) > 1500
