from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mitmesh.exchange import Target
from mitmesh.redaction.signing import CannotSign, Credentials, is_signed, permit, sign

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
    """Only AWS's scheme counts, however it is written, in a header or in the URL."""
    assert is_signed({"authorization": CLIENT}, "/")
    assert is_signed({"authorization": CLIENT.lower()}, "/")
    assert is_signed({}, "/model/m/invoke?a=1&X-Amz-Signature=ab") and is_signed({}, "/?x%2Damz-signature=ab")
    assert not is_signed({"authorization": "Bearer x"}, "/x-amz-signature=") and not is_signed({}, "/?a=b")


def scoped(service: str, region: str = "eu-west-1") -> str:
    return f"AWS4-HMAC-SHA256 Credential=A/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=ab"


RUNTIME = "bedrock-runtime.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("host", "authorization", "is_bedrock", "reason"),
    [
        (RUNTIME, scoped("bedrock"), True, None),
        (RUNTIME.upper(), scoped("bedrock"), False, None),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", scoped("bedrock", "us-gov-west-1"), True, None),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", scoped("bedrock", "cn-north-1"), True, None),
        ("vpce-0a-1b.bedrock-runtime.eu-west-1.vpce.amazonaws.com", scoped("bedrock"), True, None),
        ("bedrock-mantle.eu-west-1.api.aws", scoped("bedrock-mantle"), True, None),
        ("bedrock.corp.example", scoped("bedrock", "us-east-1"), True, None),
        (RUNTIME, scoped("s3"), True, "service"),
        (RUNTIME, scoped("iam"), True, "service"),
        (RUNTIME, scoped("bedrock", "us-east-1"), True, "region"),
        ("api.openai.com", scoped("bedrock"), False, "not Bedrock"),
        ("api.openai.com", scoped("iam"), False, "not Bedrock"),
        (f"{RUNTIME}.evil.example", scoped("bedrock"), False, "not Bedrock"),
        ("s3.eu-west-1.amazonaws.com", scoped("bedrock"), False, "not Bedrock"),
        (RUNTIME, "AWS4-HMAC-SHA256 Credential=A/20260101/../bedrock/aws4_request", True, "no scope"),
    ],
)
def test_permit(host: str, authorization: str, is_bedrock: bool, reason: str | None) -> None:
    """Our credentials are good for Bedrock, in the host's region, and for nothing else: whatever the client's signature
    is worth, it chooses no service of ours (a confused deputy)."""
    target, headers = Target("https", host, 443), {"authorization": authorization}
    if reason is None:
        assert permit(headers, "/model/m/invoke", target, is_bedrock=is_bedrock) == host
        return
    with pytest.raises(CannotSign, match=reason):
        permit(headers, "/model/m/invoke", target, is_bedrock=is_bedrock)


def test_permit_the_host_said() -> None:
    """The Host header is signed as it is said, where it is the target's name; a name that the client merely said, a
    signature in the URL and a call to the gateway are not signed for."""
    headers = {"authorization": scoped("bedrock"), "host": f"{RUNTIME}:8443"}
    assert permit(headers, "/", Target("https", RUNTIME, 8443), is_bedrock=True) == f"{RUNTIME}:8443"
    assert permit({"authorization": scoped("bedrock")}, "/", Target("http", RUNTIME, 81), is_bedrock=True) == (
        f"{RUNTIME}:81"
    )
    said = Target("http", "203.0.113.7", 80, named=RUNTIME)
    for target, path, host in (
        (Target("https", RUNTIME, 443), "/", "iam.amazonaws.com"),
        (Target("https", RUNTIME, 443), "/?X-Amz-Signature=ab", RUNTIME),
        (said, "/", RUNTIME),
        (None, "/", RUNTIME),
    ):
        with pytest.raises(CannotSign):
            permit({"authorization": scoped("bedrock"), "host": host}, path, target, is_bedrock=False)


def test_secrets_are_not_shown() -> None:
    """A key's representation has no secret in it."""
    assert "wJalr" not in repr(KEY)
