from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mitmesh.redaction.signing import CannotSign, Credentials, is_signed, sign

KEY = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
WHEN = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
CLIENT = "AWS4-HMAC-SHA256 Credential=OTHER/20150830/us-east-1/service/aws4_request, SignedHeaders=host, Signature=0"


@pytest.mark.parametrize(
    ("method", "path", "signature"),
    [
        ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
    ],
    ids=["get-vanilla", "post-vanilla", "get-vanilla-query-order-key-case"],
)
def test_amazons_vectors(method: str, path: str, signature: str) -> None:
    """The signatures are those of Amazon's own test suite (aws-sig-v4-test-suite, names as there)."""
    new = sign(method, "example.amazonaws.com", path, {"authorization": CLIENT}, b"", KEY, WHEN)
    assert new["x-amz-date"] == "20150830T123600Z"
    assert new["authorization"].endswith(f"SignedHeaders=host;x-amz-date, Signature={signature}")


def test_body_and_token() -> None:
    """A body's hash and a session token are set and signed; a token of the client's is not."""
    headers = {
        "authorization": CLIENT,
        "x-amz-content-sha256": "old",
        "x-amz-security-token": "theirs",
        "content-type": "application/json",
        "user-agent": "x",
    }
    new = sign("POST", "h", "/model/a%3A1/invoke", headers, b"{}", Credentials("A", "B", "ours"), WHEN)
    assert new["x-amz-security-token"] == "ours"
    assert new["x-amz-content-sha256"].startswith("44136fa355b3678a")
    names = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token"
    assert f"SignedHeaders={names}," in new["authorization"]


def test_no_scope() -> None:
    """Without a scope there is nothing to sign for."""
    with pytest.raises(CannotSign):
        sign("POST", "h", "/", {"authorization": "AWS4-HMAC-SHA256 nonsense"}, b"", KEY, WHEN)


def test_is_signed() -> None:
    """Only AWS's scheme counts."""
    assert is_signed({"authorization": CLIENT})
    assert not is_signed({"authorization": "Bearer x"}) and not is_signed({})


def test_secrets_are_not_shown() -> None:
    """A key's representation has no secret in it."""
    assert "wJalr" not in repr(KEY)
