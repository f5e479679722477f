"""Virtual keys: who holds which, and that none is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mitmesh.attest import Rejected
from mitmesh.attest.allowed import in_scope, may_use, rule_for, runs_a_model
from mitmesh.attest.keys import FILE, POLL, KeyFile, KeyRing
from mitmesh.dialects.base import Call, Operation
from mitmesh.rules.identities import ModelRule

WHAT = {"team": "red", "user": "ada", "tier": None, "scopes": ("chat",), "models": ("gpt-*",), "note": "ci"}


async def opened(data: Path, now: float = 0) -> KeyRing:
    ring = KeyRing(data, clock=lambda: now)
    await ring.start()
    return ring


async def test_a_key_is_known_and_kept_nowhere(tmp_path: Path) -> None:
    """The key tells its owner; its text is in no file."""
    key, text = KeyFile(tmp_path).create(expires=None, **WHAT)
    ring = await opened(tmp_path)
    assert ring.find(text) == key and (key.team, key.models) == ("red", ("gpt-*",))
    await ring.stop()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or text.encode()[3:] not in file.read_bytes()


async def test_revoked_within_a_second(tmp_path: Path) -> None:
    """A key that is made or taken back while the proxy runs is known, or gone, at its next look."""
    ring = await opened(tmp_path)
    file = KeyFile(tmp_path)
    key, text = file.create(expires=None, **WHAT)
    for _ in range(100):
        await asyncio.sleep(POLL / 5)
        if len(ring):
            break
    assert ring.find(text).id == key.id
    assert file.revoke(key.id) and not file.revoke(key.id) and not file.revoke("none")
    with pytest.raises(Rejected, match="revoked"):
        for _ in range(100):
            await asyncio.sleep(POLL / 5)
            ring.find(text)
    await ring.stop()


async def test_what_does_not_hold(tmp_path: Path) -> None:
    """Expired, unknown, of another form: the reason is told, the key is not."""
    _, text = KeyFile(tmp_path).create(expires=100, **WHAT)
    ring = await opened(tmp_path, now=101)
    for shown, why in ((text, "expired"), (text[:-1] + "?", "form"), ("mk-" + "A" * 43, "no such"), ("mk-", "form")):
        with pytest.raises(Rejected, match=why) as caught:
            ring.find(shown)
        assert shown not in str(caught.value)
    await ring.stop()


async def test_a_damaged_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the file cannot be read no key is taken, and it is said: once, however often it is looked at."""
    _, text = KeyFile(tmp_path).create(expires=None, **WHAT)
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    (tmp_path / f"{FILE}-wal").unlink(missing_ok=True)
    ring = await opened(tmp_path)
    assert ring.problem
    with pytest.raises(Rejected, match="cannot be read"):
        ring.find(text)
    for _ in range(3):
        await ring._look()
    assert len([line for line in caplog.messages if "cannot be read" in line]) == 1
    await ring.stop()


@pytest.mark.parametrize(
    ("model", "operation", "allow", "refuse", "may"),
    [
        ("gpt-4o", Operation.CHAT, [], [], True),
        ("gpt-4o", Operation.CHAT, ["gpt-*"], [], True),
        ("GPT-4o", Operation.CHAT, ["gpt-*"], [], True),
        ("claude-3", Operation.CHAT, ["gpt-*"], [], False),
        ("gpt-4o", Operation.CHAT, ["gpt-*"], ["*-4o"], False),
        ("openai/gpt-4o", Operation.CHAT, ["gpt-*"], [], True),
        ("openai/gpt-4o", Operation.CHAT, [], ["gpt-*"], False),
        (None, Operation.CHAT, ["gpt-*"], [], False),
        (None, Operation.CHAT, [], ["gpt-*"], True),
        (None, Operation.MODELS, ["gpt-*"], [], True),
        ("x.gpt-4", Operation.EMBEDDINGS, ["gpt-4"], [], False),
    ],
)
def test_models(model: str | None, operation: Operation, allow: list[str], refuse: list[str], may: bool) -> None:
    """Which models may be used: those that are allowed and not refused."""
    assert may_use(Call(operation, model), allow, refuse) is may


@pytest.mark.parametrize(
    ("others", "allow", "refuse", "may"),
    [
        (("o3",), ["gpt-*"], [], False),
        (("o3",), [], ["o3"], False),
        (("gpt-5", "vendor/o3"), ["gpt-*"], [], False),
        (("gpt-5",), ["gpt-*"], ["o3"], True),
        (("o3",), [], [], True),
    ],
)
def test_further_models(others: tuple[str, ...], allow: list[str], refuse: list[str], may: bool) -> None:
    """Of several models that may serve a call, each must be allowed."""
    assert may_use(Call(Operation.CHAT, "gpt-4o-mini", others=others), allow, refuse) is may


@pytest.mark.parametrize(
    ("method", "path", "operation", "runs"),
    [
        ("POST", "/v1/files", Operation.OTHER, False),
        ("GET", "/v1/fine_tuning/jobs", Operation.OTHER, False),
        ("DELETE", "/v1/assistants/a", Operation.OTHER, False),
        ("POST", "/v1/threads/t/runs", Operation.OTHER, True),
        ("POST", "/v1/files/../audio/speech", Operation.OTHER, True),
        ("GET", "/v1/chat/completions", Operation.CHAT, True),
    ],
)
def test_what_names_no_model(method: str, path: str, operation: Operation, runs: bool) -> None:
    """Where only some models are allowed, what may run one must say which."""
    assert runs_a_model(method, path, "openai", operation) is runs
    assert runs_a_model("POST", "/v1/conversations", "mistral", operation)
    assert may_use(Call(operation), ["gpt-*"], runs_one=runs) is not runs
    assert not may_use(Call(operation, "o3"), ["gpt-*"], runs_one=runs)


def test_rules_by_team() -> None:
    """The first rule for a team decides; one without a team is for all."""
    rules = [ModelRule(id="a", team="red"), ModelRule(id="b"), ModelRule(id="c", team="blue")]
    assert [(found := rule_for(team, rules)) and found.id for team in ("red", "blue", None)] == ["a", "b", "b"]
    assert rule_for("blue", rules[:1]) is None


async def test_scopes(tmp_path: Path) -> None:
    """A key is for the operations it names."""
    key, _ = KeyFile(tmp_path).create(expires=None, **WHAT)
    assert in_scope(Operation.CHAT, key) and not in_scope(Operation.EMBEDDINGS, key)
