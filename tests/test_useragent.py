from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.useragent import tool_of


@pytest.mark.parametrize(
    ("agent", "tool", "version"),
    [
        ("claude-cli/1.0.51 (external, cli)", "claude-code", "1.0.51"),
        ("codex_cli_rs/0.46.0 (Ubuntu 22.4.0; x86_64) xterm-256color", "codex", "0.46.0"),
        ("codex_exec/0.46.0", "codex", "0.46.0"),
        ("codex_vscode/0.4.15", "codex", "0.4.15"),
        ("GeminiCLI/v0.9.0 (linux; x64)", "gemini-cli", "0.9.0"),
        ("GeminiCLI/0.9.0/gemini-2.5-pro (linux; x64)", "gemini-cli", "0.9.0"),
        ("GithubCopilot/1.155.0", "github-copilot", "1.155.0"),
        ("GitHubCopilotChat/0.26.7", "github-copilot", "0.26.7"),
        ("Cursor/1.2.3", "cursor", "1.2.3"),
        ("OpenAI/Python 1.99.0", "openai-python", "1.99.0"),
        ("AsyncOpenAI/Python 2.0.0-beta.1", "openai-python", "2.0.0-beta.1"),
        ("AsyncAzureOpenAI/Python 1.99.0", "openai-python", "1.99.0"),
        ("OpenAI/JS 5.0.0", "openai-node", "5.0.0"),
        ("Anthropic/Python 0.60.0", "anthropic-python", "0.60.0"),
        ("AsyncAnthropicBedrock/Python 0.60.0", "anthropic-python", "0.60.0"),
        ("Anthropic/JS 0.60.0", "anthropic-node", "0.60.0"),
        ("google-genai-sdk/1.20.0 gl-python/3.12", "google-genai-sdk", "1.20.0"),
        ("curl/8.5.0", "curl", "8.5.0"),
        ("python-httpx/0.27.0", "python-httpx", "0.27.0"),
        ("Go-http-client/1.1", "go-http", "1.1"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "browser", "5.0"),
        ("my tool", "my-tool", None),
        ("", None, None),
        ("\x00\xff", None, None),
        ("(comment)", None, None),
    ],
)
def test_tools(agent: str, tool: str | None, version: str | None) -> None:
    """Known tools have their own name; any other goes by its product's."""
    assert tool_of(agent) == (tool, version)


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_text(agent: str) -> None:
    """Whatever a client sends, what is kept is short and plain."""
    for word in tool_of(agent):
        assert word is None or re.fullmatch(r"[A-Za-z0-9._+-]{1,40}", word)
