"""Personal data that has a form: emails, cards, IBANs, social security numbers, addresses of the net, domains.

Each function yields (start, end, score) for a text. A score under the rules' `least_score` counts only with a telling
word near it, which Presidio's context adds 0.35 for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from mitmesh.redaction import checks
from mitmesh.redaction.findings import Type
from mitmesh.redaction.phones import Phones

type Span = tuple[int, int, float]


@dataclass(slots=True, frozen=True)
class Kind:
    """One thing that is looked for: what finds it, and the words that make a doubtful one sure."""

    type: str
    rule_id: str
    find: Callable[[str], Iterator[Span]]
    context: tuple[str, ...] = ()


@cache
def top_level() -> frozenset[str]:
    """Top-level domains: those of tldextract's bundled public suffix list, and those reserved for inside use."""
    import tldextract

    listed = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None).tlds
    inside = {"test", "example", "local", "localdomain", "internal", "intranet", "corp", "lan", "home", "invalid"}
    return frozenset(suffix.rpartition(".")[2] for suffix in listed) | inside


_HOST = r"(?:[^\W_](?:[\w-]{0,62}[^\W_])?\.){1,10}[^\W_](?:[\w-]{0,30}[^\W_])"
_AT = re.compile(rf"(?:@|%40)({_HOST})")
_LOCAL = re.compile(r"[\w.+%'-]{1,64}\Z")
_RARE = re.compile(
    rf'(?<![\w\\"])"[\w.+%\' -]{{1,64}}"@(?P<host>{_HOST})'  # a quoted name, as RFC 5321 has it
    r"|[\w.+%-]{1,64}@\[(?:IPv6:)?(?P<ip>[0-9A-Fa-f:.]{2,45})\]"  # at an address of the net
)
_URL_USER = re.compile(r"://[^\s/@]{0,200}:\Z")


def _without_tail(host: str) -> str:
    """The host up to its last label that is a top-level domain: `example.com.Please` ends at com."""
    labels = host.split(".")
    while len(labels) > 1 and labels[-1].lower() not in top_level():
        labels.pop()
    return ".".join(labels) if len(labels) > 1 else ""


def emails(text: str) -> Iterator[Span]:
    """Addresses whose domain ends in a known top-level domain; `git@host` is a user of code, not a person."""
    for match in _AT.finditer(text):
        at = match.start()
        local = _LOCAL.search(text, max(0, at - 64), at)
        host = _without_tail(match[1])
        if local is None or not host:
            continue
        name = local[0].lstrip(".'%-")
        start = at - len(name)
        if name[:1] in ("n", "r", "t") and text[max(0, start - 1) : start] == "\\":  # a line break in code or JSON
            name, start = name[1:], start + 1
        if not name or name.lower() == "git" or _URL_USER.search(text, max(0, start - 220), start):
            continue
        yield start, match.start(1) + len(host), 0.95
    if '"@' in text or "@[" in text:
        yield from _rare_emails(text)


def _rare_emails(text: str) -> Iterator[Span]:
    """`"ann lee"@example.com` and `ann@[192.0.2.7]`."""
    for match in _RARE.finditer(text):
        if host := match["host"] and _without_tail(match["host"]):
            yield match.start(), match.start("host") + len(host), 0.95
        elif match["ip"] and _is_address(match["ip"]):
            yield match.start(), match.end(), 0.95


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_CARD = re.compile(r"(?<![0-9A-Za-z_.])(?<!\d-)\d(?:[ -]?\d){11,18}(?![A-Za-z0-9_]|-\d|\.\d)")
_CARD_SIGNS = re.compile(r"(?<![\w./])\d{4}([._/]|  )\d{4}\1\d{4}\1\d{4}(?![\w]|[./]\d)")
_CARD_FLOAT = re.compile(r"(?<![\w.])(?:(\d)\.(\d{11,18})[eE]\+?(1[1-8])|(\d{13,19})\.0{1,4})(?![\w]|\.\d)")
"""A card's number as a program prints it that took it for a number: 4.111111111111111e15, 4111111111111111.0."""
_CARD_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 5), (6, 13), (4, 4, 4, 1)}


def cards(text: str) -> Iterator[Span]:
    """12 to 19 digits with a valid check digit; sure where a network issues such numbers."""
    for match in _CARD.finditer(text):
        groups = re.split(r"[ -]", match[0])
        digits = "".join(groups)
        if len(set(digits)) < 2 or not checks.luhn(digits):
            continue
        known = checks.card_network(digits)
        if len(groups) == 1:
            yield match.start(), match.end(), 0.6 if known else 0.25
        elif tuple(map(len, groups)) in _CARD_GROUPS:
            yield match.start(), match.end(), 0.9 if known else 0.4
    for match in _CARD_SIGNS.finditer(text):
        if _is_card(match[0].replace(match[1], "")):
            yield match.start(), match.end(), 0.6
    for match in _CARD_FLOAT.finditer(text):
        head, tail, power, whole = match.groups()
        if _is_card(whole or (head + tail).ljust(int(power) + 1, "0")):
            yield match.start(), match.end(), 0.6


def _is_card(digits: str) -> bool:
    return len(set(digits)) > 1 and checks.luhn(digits) and checks.card_network(digits)


_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})\d{2}(?=[ -]?[A-Za-z0-9])")


def ibans(text: str) -> Iterator[Span]:
    """Account numbers of the country's length with a valid checksum, in one piece or in groups."""
    for match in _IBAN.finditer(text):
        size = checks.IBAN_LENGTHS.get(match[1].upper())
        if size is None:
            continue
        form = rf"[A-Za-z0-9](?:[ \u00a0-]?[A-Za-z0-9]){{{size - 1}}}(?![A-Za-z0-9])"
        whole = re.compile(form).match(text, match.start())
        if whole and checks.iban(re.sub(r"[ \u00a0-]", "", whole[0])):
            yield whole.start(), whole.end(), 0.95


_SSN = re.compile(r"(?<![\w.])(?<!\d-)(?!000|666|9)\d{3}([- .]?)(?!00)\d{2}\1(?!0000)\d{4}(?![\w]|-\d|\.\d)")

_SOCIAL = re.compile(r"(?i)social[ _-]?(?:security|insurance)[^\n]{0,40}\Z")


def social_security(text: str) -> Iterator[Span]:
    """US social security numbers: with dashes by their form alone, else by a word near them. (SSA: no area 000, 666
    or 9xx, no group 00, no serial 0000)"""
    for match in _SSN.finditer(text):
        before = text[max(0, match.start() - 60) : match.start()]
        if len(set(match[0])) <= 3 or (not match[1] and checks.numbered(before)):
            continue
        said = match[1] != "-" and _SOCIAL.search(before)  # either word alone is about anything
        form = {"-": 0.8, " ": 0.3, ".": 0.2, "": 0.2}[match[1]]
        yield match.start(), match.end(), 0.6 if said else min(form, 0.3) if checks.names_a_part(before) else form


_IPV4 = re.compile(
    r"(?<![\w.])((?:\d{1,3}\.){3}\d{1,3})(?!\w|\.\d|[-+_][A-Za-z]|\.(?:tar|zip|whl|jar|dll|exe|tgz|gz)\b)",
    re.ASCII,
)
_VERSION = re.compile(
    r"(?i)(?:\b(?:v|ver|version|versions|release|released|build|firmware|rev|revision|upgrade[ds]?(?: to)?|section|"
    r"chapter|clause|oid|tag|sdk|driver|assembly\w*|fileversion|productversion)\b\W{0,8}(?:\w{1,12}\W{1,3})?|[=<>~^]=\s?|[\^~]|"
    r"[A-Za-z)][-/_])\Z"
)
_ADDRESS = re.compile(
    r"(?i)(?://|\b(?:ips?|ipv4|addr|address|hosts?|from|ping|ssh|gateway|dns|servers?\s(?:at|on|is))\b\W{0,4})\Z"
)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])")


def net_addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6 addresses of hosts; no loopback, netmask or whole network, and no dotted version."""
    for match in _IPV4.finditer(text):
        score = _ipv4(match[1], text[max(0, match.start() - 40) : match.start()], text[match.end() : match.end() + 3])
        if score:
            yield match.start(), match.end(), score
    for match in _IPV6.finditer(text):
        if _is_host6(match[0]):
            yield match.start(), match.end(), 0.8


def _ipv4(value: str, before: str, after: str) -> float:
    parts = value.split(".")
    octets = [int(part) for part in parts]
    if max(octets) > 255 or any(len(part) > 1 and part[0] == "0" for part in parts) or octets[0] in (0, 127, 255):
        return 0
    if re.match(r"/\d", after) and octets[3] == 0:
        return 0
    if _VERSION.search(before) and not before.endswith("//"):
        return 0
    if re.search(r"\d\.\d+[ ,]\Z", before):
        return 0.3  # one of a row of numbers, as drawings are made of
    if ipaddress.IPv4Address(value).is_private or _ADDRESS.search(before) or re.match(r":\d", after):
        return 0.75
    doubtful = max(octets) <= 40 or octets.count(0) > 1 or (octets[0] <= 2 and octets[1] < 40)  # versions, OIDs
    return 0.3 if doubtful else 0.7


def _is_host6(value: str) -> bool:
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    groups = [group for group in value.split(":") if group]
    if address.is_loopback or address.is_unspecified or not any(each.isdigit() for each in value):
        return False  # `::1` is every machine's own, and `dead::beef` or `a::b` may be code
    return len(groups) > 2 or (len(groups) == 2 and len(groups[0]) == 4 and any(c.isdigit() for c in groups[0]))


_WEB = re.compile(rf"(?:://(?:[^\s/?#@\"'<>]{{1,100}}@)?|(?<![\w.-])(?=[wW]{{3}}\.))({_HOST})")
_FILES = frozenset({"py", "rs", "sh", "pl", "md", "cc", "so", "ps", "zip", "mov", "app", "net", "id", "name", "info"})
"""Top-level domains that are more often a file or an attribute where no URL says otherwise."""
_PLAIN = frozenset({"com", "org", "edu", "gov"})
"""Those that are hardly ever anything else."""
_BARE = re.compile(rf"(?<![\w.@/-])({_HOST})(?![\w@(-])")


def domains(text: str) -> Iterator[Span]:
    """Hosts of URLs, `www.` names and names in .com and the like; another bare name where a word near it tells."""
    for match in _WEB.finditer(text):
        host = _without_tail(match[1])
        if host:
            yield match.start(1), match.start(1) + len(host), 0.6
    for match in _BARE.finditer(text):
        host = _without_tail(match[1])
        top = host.rpartition(".")[2].lower()
        if host and len(host) == len(match[1]) and top not in _FILES:
            yield match.start(1), match.end(1), 0.55 if top in _PLAIN else 0.2


def kinds(regions: tuple[str, ...]) -> list[Kind]:
    """All of them; `regions` are for phone numbers."""
    return [
        Kind(Type.EMAIL, "email", emails),
        Kind(Type.CARD, "card", cards, _CARD_WORDS),
        Kind(Type.IBAN, "iban", ibans),
        Kind(Type.SSN, "ssn", social_security, _SSN_WORDS),
        Kind(Type.IP, "ip", net_addresses, _IP_WORDS),
        Kind(Type.DOMAIN, "domain", domains, _DOMAIN_WORDS),
        Kind(Type.PHONE, "phone", Phones(regions), _PHONE_WORDS),
    ]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_CARD_WORDS = _words(
    "card cards credit debit visa mastercard amex maestro cc pan kreditkarte karte carte tarjeta carta creditcard "
    "charge"
)
_SSN_WORDS = _words("ssn ssns taxpayer itin socialsecurity")
_IP_WORDS = _words("ip ips ipv4 address addr host ping ssh dns gateway subnet router client remote")
_DOMAIN_WORDS = _words("website site domain homepage hostname url visit")
_PHONE_WORDS = _words(
    "phone phones telephone tel mobile cell cellphone fax whatsapp sms desk office dial hotline helpline handy telefon "
    "mobil landline extension contact téléphone teléfono telefono reach calling voicemail ph mob msisdn "
    "phonenumber callback"
)
