"""The rules as shipped: they load, they are in docs/rules.md's words, and each host is what it should be."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from mitmesh.rules import FILES, Rules, load
from mitmesh.scope import HostTable, decide, find_path

FOLDER = Path(__file__).parents[2] / "rules"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    """The shipped files alone: whoever runs the tests may have a local/ of their own."""
    folder = tmp_path_factory.mktemp("shipped") / "rules"
    folder.mkdir()
    for name in FILES:
        (folder / f"{name}.yaml").write_bytes((FOLDER / f"{name}.yaml").read_bytes())
    return load(folder)


def test_the_files_say_the_defaults(shipped: Rules) -> None:
    """What mesh.yaml spells out is what holds without it."""
    assert shipped.mesh == Rules().mesh
    assert shipped.egress == Rules().egress and shipped.identities == Rules().identities
    assert shipped.prices == Rules().prices


def test_every_table_is_used(shipped: Rules) -> None:
    """No host names a table that is missing (load checks that), and no table lies idle."""
    assert {host.api for host in shipped.hosts.hosts} == {*shipped.hosts.apis, "none"}


def test_examples_hold(tmp_path: Path) -> None:
    """Every example in rules/local/README.md loads over the shipped rules."""
    readme = (FOLDER / "local" / "README.md").read_text()
    examples = re.findall(r"```yaml\n# local/(\w+)\.yaml[^\n]*\n(.*?)```", readme, re.DOTALL)
    assert len(examples) >= 4
    for number, (name, text) in enumerate(examples):
        folder = tmp_path / str(number) / "rules"
        (folder / "local").mkdir(parents=True)
        for stem in FILES:
            (folder / f"{stem}.yaml").write_bytes((FOLDER / f"{stem}.yaml").read_bytes())
        (folder / "local" / f"{name}.yaml").write_text(text)
        assert load(folder).version


P = "POST"


@pytest.mark.parametrize(
    ("host", "provider", "method", "path", "dialect"),
    [
        ("api.openai.com", "openai", P, "/v1/chat/completions", "openai_chat"),
        ("eu.api.openai.com", "openai", P, "/v1/responses", "openai_responses"),
        ("us.api.openai.com", "openai", "GET", "/v1/responses/resp_1?stream=true", "openai_responses"),
        ("api.openai.com", "openai", P, "/v1/responses/compact", "openai_responses"),
        ("api.openai.com", "openai", P, "/v1/embeddings", "openai_embeddings"),
        ("api.openai.com", "openai", P, "/v1/completions", "openai_chat"),
        ("api.openai.com", "openai", P, "/v1/audio/speech", None),
        ("x.openai.azure.com", "azure", P, "/openai/deployments/d/chat/completions?api-version=1", "openai_chat"),
        ("x.openai.azure.com", "azure", P, "/OpenAI/Deployments/d/Embeddings", "openai_embeddings"),
        ("x.openai.azure.com", "azure", P, "/openai/v1/responses", "openai_responses"),
        ("x.services.ai.azure.com", "azure", P, "/anthropic/v1/messages", "anthropic"),
        ("x.cognitiveservices.azure.com", "azure", P, "/openai/v1/chat/completions", "openai_chat"),
        ("api.anthropic.com", "anthropic", P, "/v1/messages?beta=true", "anthropic"),
        ("api.anthropic.com", "anthropic", P, "/v1/messages/count_tokens", "anthropic"),
        ("api.anthropic.com", "anthropic", "GET", "/v1/models", "anthropic"),
        ("api.anthropic.com", "anthropic", P, "/v1/messages/batches", None),
        ("generativelanguage.googleapis.com", "google", P, "/v1beta/models/g:streamGenerateContent?alt=sse", "gemini"),
        ("generativelanguage.googleapis.com", "google", P, "/v1beta/models/g:batchEmbedContents", "gemini"),
        ("generativelanguage.googleapis.com", "google", P, "/v1beta/openai/chat/completions", "openai_chat"),
        ("generativelanguage.googleapis.com", "google", "GET", "/v1beta/models", None),
        ("cloudcode-pa.googleapis.com", "google", P, "/v1internal:generateContent", None),
        ("aiplatform.googleapis.com", "google", P, "/v1/publishers/google/models/g:generateContent", "gemini"),
        (
            "us-east5-aiplatform.googleapis.com",
            "google",
            P,
            "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude@1:streamRawPredict",
            "anthropic",
        ),
        (
            "europe-west4-aiplatform.googleapis.com",
            "google",
            P,
            "/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict",
            None,
        ),
        ("aiplatform.eu.rep.googleapis.com", "google", P, "/v1/models/g:countTokens", "gemini"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock", P, "/model/a.b-v1%3A0/converse-stream", None),
        ("bedrock-runtime-fips.us-east-1.amazonaws.com", "bedrock", P, "/openai/v1/chat/completions", "openai_chat"),
        ("api.mistral.ai", "mistral", P, "/v1/chat/completions", "openai_chat"),
        ("codestral.mistral.ai", "mistral", P, "/v1/fim/completions", "openai_chat"),
        ("api.cohere.com", "cohere", P, "/compatibility/v1/chat/completions", "openai_chat"),
        ("api.cohere.com", "cohere", P, "/v2/chat", None),
        ("api.groq.com", "groq", P, "/openai/v1/chat/completions", "openai_chat"),
        ("api.deepseek.com", "deepseek", P, "/chat/completions", "openai_chat"),
        ("api.deepseek.com", "deepseek", P, "/anthropic/v1/messages", "anthropic"),
        ("api.x.ai", "xai", P, "/v1/responses", "openai_responses"),
        ("openrouter.ai", "openrouter", P, "/api/v1/chat/completions", "openai_chat"),
        ("api.together.xyz", "together", P, "/v1/chat/completions", "openai_chat"),
        ("api.fireworks.ai", "fireworks", P, "/inference/v1/chat/completions", "openai_chat"),
        ("api.perplexity.ai", "perplexity", P, "/chat/completions", "openai_chat"),
        ("router.huggingface.co", "huggingface", P, "/v1/chat/completions", "openai_chat"),
        ("api-inference.huggingface.co", "huggingface", P, "/models/m/v1/chat/completions", "openai_chat"),
        ("api.githubcopilot.com", "github", P, "/chat/completions", "openai_chat"),
        ("api.business.githubcopilot.com", "github", P, "/v1/messages", "anthropic"),
        ("copilot-proxy.githubusercontent.com", "github", P, "/v1/engines/x/completions", "openai_chat"),
        ("api2.cursor.sh", "cursor", P, "/aiserver.v1.ChatService/StreamUnifiedChat", None),
        ("us-only.gcpp.cursor.sh", "cursor", P, "/x", None),
        ("chatgpt.com", "openai", P, "/backend-api/codex/responses", "openai_responses"),
        ("chatgpt.com", "openai", P, "/backend-api/conversation", None),
        ("chat.openai.com", "openai", P, "/", None),
        ("claude.ai", "anthropic", P, "/api/x", None),
        ("gemini.google.com", "google", P, "/_/BardChatUi", None),
        ("statsig.anthropic.com", "telemetry", P, "/v1/log_event", None),
        ("ab.chatgpt.com", "telemetry", P, "/otlp/v1/metrics", None),
        ("telemetry.business.githubcopilot.com", "telemetry", P, "/telemetry", None),
        ("metrics.cursor.sh", "telemetry", P, "/x", None),
    ],
)
def test_llm_hosts(shipped: Rules, host: str, provider: str, method: str, path: str, dialect: str | None) -> None:
    """Each provider is known by its hosts and decrypted, and each of its paths speaks its dialect."""
    table = HostTable(shipped.hosts)
    scope = decide(table, host, 443, today=date(2026, 1, 1))
    assert scope.kind == "decrypt" and scope.rule is not None and scope.rule.provider == provider
    paths = table.apis.get(scope.rule.api)
    assert (paths and find_path(paths, method, path)) == dialect


@pytest.mark.parametrize(
    "host",
    ["example.com", "openai.com", "platform.openai.com", "evil-api.openai.com", "api.openai.com.evil.com", "github.com",
     "xapi.openai.com", "storage.googleapis.com", "s3.us-east-1.amazonaws.com", "raw.githubusercontent.com",
     "huggingface.co", "www.anthropic.com", "xchatgpt.com", "notclaude.ai", "mail.google.com", "10.0.0.1",
     "login.microsoftonline.com", "authenticate.cursor.sh", "prod.authentication.cursor.sh"],
)  # fmt: skip
def test_other_hosts_are_tunnelled(shipped: Rules, host: str) -> None:
    """What is no LLM host, and what only signs in, is never decrypted."""
    assert decide(HostTable(shipped.hosts), host, 443, today=date(2026, 1, 1)).kind == "tunnel"


def test_dialects_exist() -> None:
    """Every dialect a path may name is one we speak, and the other way round."""
    from typing import get_args

    from mitmesh.dialects import DIALECTS
    from mitmesh.rules import PathRule

    assert set(get_args(PathRule.model_fields["dialect"].annotation)) == set(DIALECTS)
