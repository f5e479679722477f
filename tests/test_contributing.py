"""What CONTRIBUTING.md shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mitmesh.dialects import get
from mitmesh.exchange import Exchange, Target
from mitmesh.rules import HostRule, Rules
from mitmesh.stage import Stage

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def code(first_words: str) -> str:
    """The block of code that begins so, without its indentation."""
    found = re.search(rf"^   ```python\n   ({re.escape(first_words)}.*?)^   ```", TEXT, re.M | re.S)
    assert found
    return found[1].replace("\n   ", "\n")


@pytest.mark.parametrize(("model", "refused"), [("preview-5", True), ("gpt-4o-mini", False)])
async def test_the_stage(model: str, refused: bool) -> None:
    """The stage of the example decides as the text says."""
    names: dict[str, Any] = {}
    exec(code('"""Refuses models that are only previews."""'), names)
    stage = names["Preview"]()
    assert isinstance(stage, Stage)
    dialect = get("openai_chat")
    call = dialect.read({"model": model, "messages": []}, "/v1/chat/completions", {})
    host = HostRule(id="x", match=["api.openai.com"], provider="openai")
    target = Target("https", "api.openai.com", 443)
    x = Exchange(dialect, call, host, target, "/v1/chat/completions", {}, Rules())
    await stage.request(x)
    assert (x.refusal is not None) is refused


def test_the_files_it_names_are_there() -> None:
    """A newcomer who follows it finds each of them."""
    for name in re.findall(r"\]\(((?!http)[^)#]+)\)", TEXT) + re.findall(
        r"`((?:addons|tests|docs)/[\w/]+\.\w+)`", TEXT
    ):
        if "preview" not in name:
            assert (ROOT / name).exists(), name


def test_the_docs_link_to_what_is_there() -> None:
    """No link of README or docs/ leads nowhere."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name in re.findall(r"\]\(((?!http|#)[^)#]+)", page.read_text()):
            assert (page.parent / name).exists(), f"{page.name}: {name}"
