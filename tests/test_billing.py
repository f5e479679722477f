"""How calls are paid for: who sends what where, and what that means."""

from __future__ import annotations

import pytest

from mitmesh.billing import billing
from mitmesh.exchange import Billing

METERED, SUBSCRIPTION, LOCAL, UNKNOWN = Billing.METERED, Billing.SUBSCRIPTION, Billing.LOCAL, Billing.UNKNOWN

OPENAI_KEY = {"authorization": "Bearer sk-proj-x"}
CLAUDE_KEY = {"x-api-key": "sk-ant-api03-x"}
CLAUDE_PLAN = {"authorization": "Bearer sk-ant-oat01-x"}
CODEX_PLAN = {"authorization": "Bearer eyJ.x.y", "chatgpt-account-id": "acc"}


@pytest.mark.parametrize(
    ("host", "path", "headers", "declared", "how"),
    [
        # a key is metered
        ("api.openai.com", "/v1/x", OPENAI_KEY, None, METERED),
        ("api.anthropic.com", "/v1/messages", CLAUDE_KEY, None, METERED),
        ("x.openai.azure.com", "/", {"api-key": "k"}, None, METERED),
        ("generativelanguage.googleapis.com", "/", {"x-goog-api-key": "k"}, None, METERED),
        ("generativelanguage.googleapis.com", "/v1beta/x?key=k", {}, None, METERED),
        ("generativelanguage.googleapis.com", "/v1beta/x?alt=sse&key=k", {}, None, METERED),
        ("bedrock-runtime.us-east-1.amazonaws.com", "/", {"authorization": "AWS4-HMAC-SHA256 x"}, None, METERED),
        # a plan's login is a subscription, whatever is declared
        ("api.anthropic.com", "/v1/messages", CLAUDE_PLAN, None, SUBSCRIPTION),
        ("api.anthropic.com", "/v1/messages", CLAUDE_PLAN, METERED, SUBSCRIPTION),
        ("api.anthropic.com", "/v1/messages", {"x-api-key": "sk-ant-oat01-x"}, None, SUBSCRIPTION),
        ("chatgpt.com", "/backend-api/codex/responses", CODEX_PLAN, None, SUBSCRIPTION),
        # a header alone makes no plan: not elsewhere, not beside a key
        ("api.openai.com", "/v1/responses", CODEX_PLAN, None, METERED),
        ("api.groq.com", "/openai/v1/x", CLAUDE_PLAN, None, METERED),
        ("api.anthropic.com", "/v1/messages", CLAUDE_PLAN | CLAUDE_KEY, None, METERED),
        ("api.anthropic.com", "/v1/messages", CLAUDE_KEY | {"authorization": "Bearer sk-ant-oat01-x"}, None, METERED),
        # a host for people on a plan
        ("chatgpt.com", "/", {}, None, SUBSCRIPTION),
        ("ChatGPT.com.", "/", {}, None, SUBSCRIPTION),
        ("claude.ai", "/", {"cookie": "x"}, None, SUBSCRIPTION),
        ("api.individual.githubcopilot.com", "/", OPENAI_KEY, None, SUBSCRIPTION),
        ("notchatgpt.com", "/", OPENAI_KEY, None, METERED),
        ("chatgpt.com.evil.com", "/", {}, None, UNKNOWN),
        # inside is local, with a key or without
        ("localhost", "/", {}, None, LOCAL),
        ("127.0.0.1", "/", OPENAI_KEY, None, LOCAL),
        ("::1", "/", {}, None, LOCAL),
        ("[::1]", "/", {}, None, LOCAL),
        ("10.1.2.3", "/", {}, None, LOCAL),
        ("fd00::1", "/", {}, None, LOCAL),
        ("ollama", "/", {}, None, LOCAL),
        ("vllm.models.svc.cluster.local", "/", OPENAI_KEY, None, LOCAL),
        ("8.8.8.8", "/", {}, None, UNKNOWN),
        # what is declared wins over host and key
        ("llm.example.com", "/", OPENAI_KEY, LOCAL, LOCAL),
        ("127.0.0.1", "/", {}, METERED, METERED),
        ("chatgpt.com", "/", {}, METERED, METERED),
        # nobody knows
        ("api.openai.com", "/v1/models", {}, None, UNKNOWN),
        ("api.openai.com", "/v1/models", {"authorization": ""}, None, UNKNOWN),
        ("api.openai.com", "/v1/monkey=1", {}, None, UNKNOWN),
        ("", "/", {}, None, UNKNOWN),
    ],
)
def test_billing(host: str, path: str, headers: dict[str, str], declared: Billing | None, how: Billing) -> None:
    """A plan's login tells for itself, then what is declared, then the host, then any key."""
    assert billing(host, path, headers, declared) is how
