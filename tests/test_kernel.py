from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.cgroups import Owner, Tree
from mitmesh.kernel import _RECORD, Caller, Kernel, user_name
from mitmesh.pods import Pod

C = Path(__file__).parents[1] / "bpf" / "redirect.c"


def raw(flags: int = 1, pid: int = 42, uid: int = 1000, comm: bytes = b"curl", cgroup: int = 5) -> bytes:
    wanted = b"\0" * 10 + b"\xff\xff" + bytes([203, 0, 113, 9])
    return _RECORD.pack(_RECORD.size, flags, wanted, b"\x01\xbb", 2, 7, pid, pid, uid, uid, cgroup, 99, comm)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """One that finds no cgroups."""
    return Kernel(None, Tree(tmp_path, tmp_path))


def test_the_record_is_that_of_the_c_file() -> None:
    """Its fields have the sizes and the order that redirect.c gives them."""
    body = re.search(r"struct record \{(.*?)\n\};", C.read_text(), re.S)
    assert body
    sizes = {"u32": 4, "u16": 2, "u64": 8, "char": 16, "struct address": 16}
    fields = re.findall(r"^\s+(u32|u16|u64|char|struct address) (\w+)(?:\[16\])?;", body[1], re.M)
    wanted = [sizes[kind] for kind, _ in fields]
    assert wanted == [struct.calcsize("=" + each) for each in re.findall(r"\d+s|[A-Z]", _RECORD.format)]
    assert [name for _, name in fields][6:8] == ["pid", "tgid"]


def test_a_record_is_a_caller(kernel: Kernel) -> None:
    """With where it wanted to go, and what it calls itself."""
    caller = kernel.read(raw())
    assert caller is not None
    assert (caller.pid, caller.uid, caller.comm, caller.redirected) == (42, 1000, "curl", True)
    assert caller.wanted == ("203.0.113.9", 443)
    assert caller.process is None
    assert caller.text == "curl[42] in cgroup 5"


@pytest.mark.parametrize(
    ("comm", "shown"),
    [(b"a\0b", "a"), (b"", "?"), (b"a[1] in x", "a?1? in x"), (b"\x1b[31m", "??31m"), (b"\xff", "\ufffd")],
)
def test_a_name_cannot_pretend(comm: bytes, shown: str, kernel: Kernel) -> None:
    """What a process calls itself cannot look like more of the text, nor move a terminal's cursor."""
    caller = kernel.read(raw(comm=comm))
    assert caller is not None
    assert caller.comm == shown


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    """Whatever a socket answers, nothing breaks."""
    caller = Kernel(None, Tree(Path("/nowhere"), Path("/nowhere"))).read(data)
    assert caller is None or len(data) == _RECORD.size


def caller(owner: Owner | None, pod: Pod | None = None, redirected: bool = True, beside_us: bool = False) -> Caller:
    return Caller(1, 0, 0, "x", 5, redirected, ("203.0.113.9", 443), owner, pod, beside_us)


@pytest.mark.parametrize(
    ("owner", "pod", "process", "on_host"),
    [
        (None, None, None, False),
        (Owner("/a"), None, "/a", True),
        (Owner("/a", unit="a.service"), None, "a.service", True),
        (Owner("/a", container="0123456789ab" + "0" * 52), None, "0123456789ab", False),
        (Owner("/a", container="0" * 64, pod="u"), Pod("prod", "web"), "prod/web", False),
        (Owner("/a", pod="u"), None, "/a", False),
    ],
)
def test_what_rules_decide_by(owner: Owner | None, pod: Pod | None, process: str | None, on_host: bool) -> None:
    """The pod, the container, the unit or the cgroup: never what a process calls itself."""
    made = caller(owner, pod)
    assert (made.process, made.on_host) == (process, on_host)


HERE, THERE = ("127.0.0.1", 8443), ("203.0.113.9", 443)


@pytest.mark.parametrize(
    ("who", "original", "closed"),
    [
        (caller(None), THERE, False),
        (caller(None, redirected=False), THERE, True),
        (caller(None), HERE, True),
        (None, THERE, False),  # nftables
        (None, HERE, True),  # conntrack's answer to a direct connect
    ],
)
def test_the_transparent_listener(who: Caller | None, original: tuple[str, int], closed: bool, kernel: Kernel) -> None:
    """Only redirected connections, and none to itself."""
    assert bool(kernel.why_not(who, original, HERE)) is closed


@pytest.mark.parametrize(
    ("beside_us", "redirected", "loop"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_our_own_connection(beside_us: bool, redirected: bool, loop: bool, kernel: Kernel) -> None:
    """One from our cgroup that was turned to us is a loop, whichever process made it; one made to us openly is not."""
    assert kernel.is_us(caller(None, redirected=redirected, beside_us=beside_us)) is loop


def test_a_socket_without_programs(kernel: Kernel) -> None:
    """The kernel knows no such option: nobody is known."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted = server.accept()[0]
        with accepted:
            assert kernel.caller(accepted) is None
    assert kernel.caller(None) is None


def test_user_names() -> None:
    """By uid, or the number."""
    assert user_name(0) == "root"
    assert user_name(3_999_999_999) == "3999999999"
