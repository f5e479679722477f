"""docs/headers.md: the headers that are ours."""

from __future__ import annotations

from mitmesh.reference.markdown import page, table

HEADERS: dict[str, tuple[str, str]] = {
    "x-mesh-id": ("answer", "Id of the exchange, as in the audit; `scripts/why ID` explains it."),
    "x-mesh-origin": ("answer", "Who made the answer: `provider`, `cache` or `proxy` (mitmesh itself)."),
    "x-mesh-rule": ("refusal", "Id of the rule that refused."),
    "x-mesh-vendor": ("gateway's answer", "Provider that served it."),
    "x-mesh-model": ("gateway's answer", "Model that was asked for."),
    "x-mesh-cache": (
        "answer, request",
        "`exact` or `semantic`: answered from the cache by that layer. `miss`: not. `off`: the cache had no part in "
        "it; a request that says `off` asks for just that.",
    ),
    "x-mesh-tokens": (
        "gateway's answer, cached answer",
        "Tokens in and out together, where known before the body is sent; 0 of a cached answer.",
    ),
    "x-mesh-cost-usd": (
        "gateway's answer, cached answer",
        "Dollars, six decimals, where known before the body is sent; 0.000000 of a cached answer.",
    ),
    "x-mesh-quota-pct": (
        "answer",
        "How full the fullest limit was that the call came under, in percent; what running calls have set aside "
        "counts.",
    ),
    "x-mesh-quota-warn": ("answer", "Which limit is nearly used up, or that the session goes round in circles."),
    "x-should-retry": ("refusal", "`false`: the providers' SDKs would otherwise try again by themselves."),
    "x-mesh-token": (
        "request",
        "A token (JWT) of an issuer that identities.yaml names, where Authorization is the provider's.",
    ),
    "x-mesh-team": ("request", "Team of the caller. Believed from `trust_headers_from` in identities.yaml alone."),
    "x-mesh-user": ("request", "User behind the call; as above."),
    "x-mesh-tool": ("request", "Tool that calls; as above."),
    "x-mesh-loopback": (
        "inside",
        "Leads a call to the loopback upstream; never sent to anybody, never believed from a client.",
    ),
}
"""Name: where it is found, and what it says."""


def headers_markdown() -> str:
    """The page."""
    rows = [(f"`{name.title().replace('Usd', 'USD')}`", where, meaning) for name, (where, meaning) in HEADERS.items()]
    return page(
        "Headers",
        "Every request header that begins with `X-Mesh-` or `X-Agentmesh-` is taken out before a call leaves, and "
        "every one that a provider sends under `X-Mesh-` is taken out of its answer. Streams cannot have tokens and "
        "cost in a header; `stream_cost` in mesh.yaml has the gateway say them in a last SSE comment.",
        table(("header", "in", "meaning"), rows),
    )
