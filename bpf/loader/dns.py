"""Addresses learned from the DNS answers that clients receive: names with a `*` cannot be resolved beforehand."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from loader.settings import Address

_ALL = 3  # ETH_P_ALL
_ATTACH_FILTER = 26

# Of a packet from its network header on: is it UDP from port 53, over IPv4, or over IPv6 without extensions?
_FILTER = (
    (0x30, 0, 0, 0),  # ldb [0]
    (0x54, 0, 0, 0xF0),  # and #0xf0
    (0x15, 0, 5, 0x40),  # jeq #0x40, else to the other jeq #0x60
    (0x30, 0, 0, 9),  # ldb [9]: protocol
    (0x15, 0, 9, 17),  # jeq #17, else drop
    (0xB1, 0, 0, 0),  # ldxb 4*([0]&0xf)
    (0x48, 0, 0, 0),  # ldh [x+0]: source port
    (0x15, 5, 6, 53),  # jeq #53, keep, else drop
    (0x15, 0, 5, 0x60),  # jeq #0x60, else drop
    (0x30, 0, 0, 6),  # ldb [6]: next header
    (0x15, 0, 3, 17),  # jeq #17, else drop
    (0x28, 0, 0, 40),  # ldh [40]: source port
    (0x15, 0, 1, 53),  # jeq #53, keep, else drop
    (0x06, 0, 0, 0xFFFF),  # ret #65535
    (0x06, 0, 0, 0),  # ret #0
)


def listen() -> socket.socket:
    """A socket that gets each DNS answer over UDP which any interface of our network namespace receives or sends."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _FILTER)
    buffer = ctypes.create_string_buffer(code, len(code))
    made.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(buffer)))
    made.setblocking(False)
    return made


def addresses(packet: bytes, match: Callable[[str], bool]) -> set[Address]:
    """The A and AAAA answers in a packet (from its network header on) to a question that matches; none if it is
    anything else, or malformed."""
    try:
        at = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
        return _answers(packet[at + 8 :], match)
    except (IndexError, struct.error, ValueError):
        return set()


def _answers(message: bytes, match: Callable[[str], bool]) -> set[Address]:
    _, flags, questions, answers = struct.unpack_from("!HHHH", message)
    if not flags & 0x8000 or questions != 1:
        return set()
    name, at = _name(message, 12)
    if not match(name):
        return set()
    at += 4
    found: set[Address] = set()
    for _ in range(min(answers, 64)):
        _, at = _name(message, at)
        kind, _, _, size = struct.unpack_from("!HHIH", message, at)
        at += 10
        if kind == 1 and size == 4:
            found.add(IPv4Address(message[at : at + 4]))
        elif kind == 28 and size == 16:
            found.add(IPv6Address(message[at : at + 16]))
        at += size
    return found


def _name(message: bytes, at: int) -> tuple[str, int]:
    """A name, and where what follows it begins. A pointer ends it; at most 127 labels, so no loop is endless."""
    labels: list[str] = []
    after = None
    for _ in range(255):
        size = message[at]
        if size >= 0xC0:
            after = at + 2 if after is None else after
            at = struct.unpack_from("!H", message, at)[0] & 0x3FFF
        elif size == 0:
            return ".".join(labels), at + 1 if after is None else after
        else:
            labels.append(message[at + 1 : at + 1 + size].decode("ascii", "replace"))
            at += size + 1
    raise ValueError("endless name")
