"""`--engine nft`: the same turn by nftables, in a table of its own, where BPF cannot be had.

Nobody's identity is known. What the proxy does not listen to is refused, as ever: `--when-down pass` needs BPF."""

from __future__ import annotations

import subprocess
from pathlib import Path

from loader import RedirectError, cgroups, needs
from loader.settings import Address, Settings

TABLE = "inet mitmesh"


def script(settings: Settings, chosen: list[Path], exempt: list[Path], listed: set[Address]) -> str:
    """The whole table, replaced in one transaction."""
    ports = ", ".join(map(str, settings.ports))
    who = [f"socket cgroupv2 level {_level(path)} {_quoted(path)}" for path in chosen]
    sets = ""
    if settings.host == "all":
        who.append("")
    elif settings.host == "listed":
        four, six = ([str(a) for a in sorted(listed, key=int) if a.version == version] for version in (4, 6))
        sets = _set("listed4", "ipv4_addr", four) + _set("listed6", "ipv6_addr", six)
        who += ["ip daddr @listed4", "ip6 daddr @listed6"]
    skip = "".join(f"    socket cgroupv2 level {_level(path)} {_quoted(path)} accept\n" for path in exempt)
    skip += "    ip daddr 127.0.0.0/8 accept\n    ip6 daddr ::1 accept\n"
    turns = "".join(_turn(words, ports, settings) for words in who)
    quic = "".join(f"    {words} udp dport {{ {ports} }} reject\n" for words in who)
    return (
        f"table {TABLE} {{}}\ndelete table {TABLE}\ntable {TABLE} {{\n{sets}"
        f"  chain turn {{\n    type nat hook output priority -100;\n{skip}{turns}  }}\n"
        f"  chain quic {{\n    type filter hook output priority 0;\n{skip}{quic}  }}\n}}\n"
    )


def _turn(words: str, ports: str, settings: Settings) -> str:
    rules = ""
    for family, version, name in (("ip", 4, "ipv4"), ("ip6", 6, "ipv6")):
        target = settings.proxy(version)
        if (family == "ip6" and words.startswith("ip ")) or (family == "ip" and words.startswith("ip6 ")):
            continue
        head = f"    {words} meta nfproto {name} tcp dport {{ {ports} }}"
        if target is None:
            rules += f"{head} drop\n"
        else:
            host = f"[{target[0]}]" if version == 6 else str(target[0])
            rules += f"{head} dnat {family} to {host}:{target[1]}\n"
    return rules


def _set(name: str, kind: str, elements: list[str]) -> str:
    filled = f" elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"  set {name} {{ type {kind};{filled} }}\n"


def _level(path: Path) -> int:
    return len(path.relative_to(cgroups.root()).parts)


def _quoted(path: Path) -> str:
    # nft looks a path up under /sys/fs/cgroup, wherever v2 is mounted
    return '"' + str(path.relative_to("/sys/fs/cgroup")).replace('"', "") + '"'


def apply(text: str) -> None:
    """Put a table in force. Raises RedirectError."""
    _nft(["-f", "-"], text)


def exists() -> bool:
    """Is our table there?"""
    try:
        return subprocess.run(["nft", "list", "table", *TABLE.split()], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def remove() -> None:
    """Take our table away, and nothing else."""
    _nft(["delete", "table", *TABLE.split()])


def _nft(arguments: list[str], text: str | None = None) -> None:
    try:
        done = subprocess.run(["nft", *arguments], input=text, capture_output=True, text=True)
    except FileNotFoundError:
        raise RedirectError("nft is missing: install the package nftables", needs.REFUSED) from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.strip()), "no reason given")
        raise RedirectError(f"nftables refused: {said}", needs.REFUSED)
