"""URLs: what the shipped rules find in them, and what they leave alone."""

from __future__ import annotations

import pytest

from mitmesh.redaction.address import TooManyParameters, rewritten, said
from mitmesh.redaction.search import Searcher
from redactions import shipped_pii

IDS = [
    "resp_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b", "file-XjGxS3KTG0uNmNOK362iJua3",
    "file_011CNha8iCJcU1wXNR6q4V8w", "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "thread_9wkzBnYQxXWvmnEVt8vVTZ3y",
    "msg_017dpayyeg2Q4CZfmaDm3Zyz", "asst_abc123", "batch_68af4030592c81938ec0a5fbab4a3e9f",
    "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d", "ft:gpt-4o-mini-2024-07-18:my-org::7p4lURel",
    "conv_689667905b048191b4740501625afd940c7533ace33a2dab", "vs_68af4030592c8193", "gpt-4o-2024-08-06",
    "claude-sonnet-4-5-20250929", "claude-3-5-sonnet@20241022", "gemini-2.5-flash:generateContent",
    "us.anthropic.claude-sonnet-4-20250514-v1:0", "123456789012",
    "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-20250514-v1%3A0",
    "3fa85f64-5717-4562-b3fc-2c963f66afa6", "my-project-123456", "us-central1", "1732645000", "abc12345xyz",
]  # fmt: skip
QUERIES = [
    "api-version=2024-10-21", "alt=sse", "after=file-XjGxS3KTG0uNmNOK362iJua3", "limit=100", "$alt=json",
    "beta=true", "upload_id=AHmUCY3rG0x9", "pageToken=CiAKGjBpNDd2Nmp2Zml2cXRwYjBpOXA",
    "include[]=message.output_text.logprobs", "before_id=msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d", "starting_after=42",
    "key=AIzaSyA1234567890abcdefghijklmnopqrstuv",
]  # fmt: skip


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    return Searcher(shipped_pii())


def test_ids_of_providers(searcher: Searcher) -> None:
    """Ids that a provider gives, its models and its own parameters are nothing personal."""
    for path in [*(f"/v1/things/{each}/x" for each in IDS), *(f"/v1/things?{each}" for each in QUERIES)]:
        assert not [text.text for text in said(path) if searcher.find(text.text)]


@pytest.mark.parametrize("value", ["4111111111111111", "123-45-6789", "203.0.113.77", "+12125550123", "212-555-0187",
                                   "ann@example.com", "ann%2540example.com", "ann%40example.com"])  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/x/{}", "/v1/{}/x?y", "/v1/x?{}=1", "/v1/x?{}", "/v1/x?a=b&c={}", "/x?key={}"])
def test_values(searcher: Searcher, path: str, value: str) -> None:
    """Wherever a value stands in a URL it is found, and what is put there is all that changes."""
    whole = path.format(value)
    found = [text for text in said(whole) if searcher.find(text.text)]
    assert len(found) == 1
    finding = searcher.find(found[0].text)[0]
    new = found[0].text[: finding.start] + "<V>" + found[0].text[finding.end :]
    assert rewritten(whole, {found[0].path: new}) == path.format("%3CV%3E")


def test_password_in_a_query(searcher: Searcher) -> None:
    """A parameter's name gives its value away."""
    assert [len(searcher.find(text.text)) for text in said("/x?password=hunter2zz9Q")] == [0, 1]


@pytest.mark.parametrize("path", ["/x?" + "a&" * 101, "/x" * 101])
def test_too_many(path: str) -> None:
    """A URL that could take for ever is refused."""
    with pytest.raises(TooManyParameters):
        said(path)
