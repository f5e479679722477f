"""mitmproxy options: the suite's own, those it sets, and those it refuses because they pass calls by the stages."""

from __future__ import annotations

from typing import Any

OWN: dict[str, tuple[type, Any, str]] = {
    "mesh_rules": (str, "", "Folder of the rules; empty is the project's own rules/."),
    "mesh_data": (str, "", "Folder of the audit and of what else is kept; empty is ~/.mitmesh."),
    "mesh_listen": (str, "127.0.0.1:8080", "Address of the forward proxy, host:port; port 0 is any free one."),
    "mesh_gateway": (str, "127.0.0.1:8081", "Address of the gateway (base URLs), host:port; empty is none."),
    "mesh_transparent": (
        str,
        "",
        "Addresses for connections that bpf/redirect turns here, host:port, several with commas; empty is none.",
    ),
    "mesh_pods": (str, "/run/mitmesh/pods.json", "File that tells the names of pods (a PodList); need not exist."),
    "mesh_control": (str, "127.0.0.1:9090", "Address of /health and /metrics, host:port; empty is none."),
    "mesh_demo": (bool, False, "Answer LLM calls from a built-in provider: nothing leaves, no key is needed."),
    "mesh_team_limits": (
        str,
        "",
        "Tokens that teams may use in a calendar month, team=tokens, several with commas; before rules/quotas.yaml.",
    ),
    "mesh_warn_at": (
        int,
        80,
        "Percent of mesh_team_limits from which answers carry a warning; 80 is lowered to 80 percent of the hard stop.",
    ),
    "mesh_hard_stop_at": (int, 100, "Percent of mesh_team_limits at which calls are refused."),
    "mesh_drain": (int, 10, "Seconds that calls in flight have to end when the process is told to stop."),
}
"""Name: type, default, help. Defined in the engine's `load`; documented in docs/options.md."""

SET: dict[str, Any] = {
    "connection_strategy": "lazy",  # eager would touch the upstream for calls that are refused
    "onboarding": False,  # http://mitm.it would hand out the certificate of mitmproxy's own CA, which signs nothing
    "flow_detail": 0,  # the dumper prints whole URLs, `?key=` included
    "stream_large_bodies": None,
    "tcp_timeout": 3600,  # models that think say nothing for minutes; 600 s would cut them
}
"""What the engine sets itself when it is loaded."""

REFUSED: dict[str, tuple[Any, str]] = {
    "connection_strategy": ("lazy", "eager connects before a call is allowed"),
    "stream_large_bodies": (None, "it forwards a body before any stage has seen it"),
    "flow_detail": (0, "it prints prompts and keys"),
    "body_size_limit": (None, "it also ends what is no LLM call; limits.body_bytes in rules/mesh.yaml is for those"),
    "ignore_hosts": ([], "it passes hosts by all stages; use `action: tunnel` in rules/hosts.yaml"),
    "allow_hosts": ([], "it passes all other hosts by the stages; use rules/hosts.yaml"),
    "tcp_hosts": ([], "it passes calls as raw bytes"),
    "udp_hosts": ([], "it passes calls as raw bytes"),
    "map_remote": ([], "it changes where a call goes after it was judged; use rules/routes.yaml"),
    "map_local": ([], "it answers in a provider's place, ungoverned"),
    "modify_body": ([], "it changes a call outside the stages"),
    "modify_headers": ([], "it changes a call outside the stages; use `inject_headers` in rules/hosts.yaml"),
    "server_replay": ([], "it answers from a file, ungoverned"),
    "client_replay": ([], "it sends calls from a file, ungoverned"),
    "save_stream_file": (None, "it writes prompts and keys in clear"),
    "hardump": ("", "it writes prompts and keys in clear"),
    "rfile": (None, "it feeds recorded calls into a running proxy"),
    "block_list": ([], "it answers outside the stages; use `status: blocked` in rules/hosts.yaml"),
    "stickyauth": (None, "it sends one caller's credential with another's call"),
    "stickycookie": (None, "it sends one caller's cookies with another's call"),
    "proxyauth": (None, "it takes `Authorization` away from calls to the gateway"),
    "certs": ([], "they sign with a key that is not this install's; see `ca` in rules/mesh.yaml"),
    "cert_passphrase": (None, "it is for keys that are not this install's; see `ca` in rules/mesh.yaml"),
    "add_upstream_certs_to_client_chain": (False, "it sends clients certificates that our CA did not sign"),
    "ssl_insecure": (False, "it sends keys and prompts to whoever answers"),
    "validate_inbound_headers": (True, "without it requests can be smuggled"),
    "store_streamed_bodies": (False, "it keeps streams in memory for as long as they run"),
    "keep_host_header": (False, "it tells the provider the gateway's name"),
}
"""Option: the only value it may have, and why. Checked at start and whenever an option changes."""

REMAKES_CA = frozenset({"certs", "confdir", "key_size", "cert_passphrase"})
"""Options at whose change mitmproxy loads its own CA anew, over ours."""

COMPROMISED_CA = ("ca_compromised", "use_compromised_ca", "public_ca")
"""Recent mitmproxy versions can sign with a publicly known CA; an option named like one of these must be off."""


def violation(options: Any) -> str | None:
    """The first option whose value would let calls pass ungoverned, as a sentence for people; None if there is none.

    `options` is mitmproxy's option manager. `rfile` and the like are compared as mitmproxy normalises them.
    """
    for name, (wanted, why) in REFUSED.items():
        if name not in options:
            continue
        value = getattr(options, name)
        if (list(value) if isinstance(value, tuple) else value) != wanted:
            return f"mitmproxy option {name} must be {wanted!r}: {why}"
    for name in list(options.keys()):  # mitmproxy's manager does not iterate
        if any(word in name for word in COMPROMISED_CA) and getattr(options, name):
            return f"mitmproxy option {name} must be off: whoever has that public key can read this traffic"
    return None


def host_port(spec: str, option: str) -> tuple[str, int]:
    """`host:port` as a pair; raises ValueError that names the option."""
    host, _, port = spec.rpartition(":")
    host = host.strip("[]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{option} must be host:port, such as 127.0.0.1:8080; it is {spec!r}")
    return host, int(port)
