"""/proxy.pac: tells a browser to send LLM hosts through us, and everything else as before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from mitmesh.hostnames import Pattern, parse_pattern
from mitmesh.rules import Hosts

_SCRIPT = """// Made by mitmesh from rules/hosts.yaml: LLM hosts go through it, everything else goes as before.
// When mitmesh is not there LLM hosts fail: going past it would be ungoverned.
var PROXY = %(proxy)s;
// [host, port (0 is any), through us]; the first that matches decides.
var RULES = [
%(rules)s
];
function matches(what, host) {
  if (what instanceof RegExp) return what.test(host);
  return /^\\d+\\.\\d+\\.\\d+\\.\\d+$/.test(host) && isInNet(host, what[0], what[1]);
}
function FindProxyForURL(url, host) {
  var at = /^(\\w+):\\/\\/(?:[^\\/@]*@)?(?:\\[[^\\]]*\\]|[^:\\/]*)(?::(\\d+))?/.exec(url) || [];
  var port = Number(at[2]) || (/^(https|wss)$/i.test(at[1]) ? 443 : 80);
  host = host.toLowerCase().replace(/\\.$/, "");
  for (var i = 0; i < RULES.length; i++)
    if ((!RULES[i][1] || RULES[i][1] === port) && matches(RULES[i][0], host)) return RULES[i][2] ? PROXY : "DIRECT";
  return "DIRECT";
}
"""


def script(hosts: Hosts, proxy: str) -> str:
    """The JavaScript for browsers; `proxy` is host:port. IPv6 ranges are left out: PAC has no word for them."""
    return _SCRIPT % {"proxy": json.dumps(f"PROXY {proxy}"), "rules": ",\n".join(_rules(hosts))}


def _rules(hosts: Hosts) -> Iterator[str]:
    for rule in hosts.hosts:
        # What is refused comes to us to be told so. A rule that holds for some callers only is ours to decide.
        ours = rule.action != "tunnel" or rule.when is not None
        for text in rule.match:
            pattern = parse_pattern(text)
            if what := _host(pattern):
                yield f"  [{what}, {pattern.port or 0}, {json.dumps(ours)}]"


def _host(pattern: Pattern) -> str | None:
    if pattern.network is not None:
        if pattern.network.version == 6:
            return None
        return json.dumps([str(pattern.network.network_address), str(pattern.network.netmask)])
    regex = pattern.regex.pattern if pattern.regex else re.escape(pattern.name or "")
    return f"/^{regex}$/"
