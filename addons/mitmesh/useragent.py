"""Which tool calls, as its User-Agent claims."""

from __future__ import annotations

import re
from functools import lru_cache

_PRODUCT = re.compile(r"([A-Za-z][A-Za-z0-9 ._-]{0,39})(?:/v?([A-Za-z0-9][\w.+-]{0,39}))?")

_TOOLS = {
    "claude-cli": "claude-code",
    "claude-code": "claude-code",
    "codex_cli_rs": "codex",
    "codex_exec": "codex",
    "codex_vscode": "codex",
    "codex-tui": "codex",
    "geminicli": "gemini-cli",
    "geminicli-vscode": "gemini-cli",
    "githubcopilot": "github-copilot",
    "githubcopilotchat": "github-copilot",
    "copilot-cli": "github-copilot",
    "roocode": "roo-code",
    "go-http-client": "go-http",
    "mozilla": "browser",
}
"""Product names that are not the tool's own name, in lower case. Any other product's name is its tool's."""

_SDK = re.compile(r"(?:async)?(?:azure)?(openai|anthropic)(?:bedrock|vertex|foundry)?", re.IGNORECASE)
_SDK_LANGUAGE = {"python": "python", "js": "node"}
_SDK_TOKEN = re.compile(r"([A-Za-z]{6,32})/(Python|JS) ([0-9][\w.+-]{0,39})")
"""The OpenAI and Anthropic SDKs say `AsyncOpenAI/Python 1.99.0`."""


@lru_cache(maxsize=1024)
def _tool_of(agent: str) -> tuple[str | None, str | None]:
    sdk = _SDK_TOKEN.match(agent)
    name = sdk and _SDK.fullmatch(sdk[1])
    if sdk and name:
        return f"{name[1].lower()}-{_SDK_LANGUAGE[sdk[2].lower()]}", sdk[3]
    product = _PRODUCT.match(agent)
    if product is None:
        return None, None
    tool = product[1].strip().lower()
    return _TOOLS.get(tool, tool.replace(" ", "-")), product[2]


def tool_of(agent: str) -> tuple[str | None, str | None]:
    """The tool and its version that a User-Agent names, each None where it names none. At most 40 characters each, of
    letters, digits and `._+-`."""
    return _tool_of(agent[:256])
