"""The loader's own logic, on any machine."""

from __future__ import annotations

import ast
import json
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import RedirectError, cli, dns, hosts, needs, nft, pods, programs, settings
from loader.settings import Settings
from mitmesh import rules
from mitmesh.pods import parse as engine_parse

ROOT = Path(__file__).resolve().parents[2]
LOADER = sorted((ROOT / "bpf").rglob("*.py"))

# --- rules ---


def test_the_shipped_hosts_are_read_as_the_engine_reads_them() -> None:
    """Without YAML, the very same patterns, in the same order."""
    loaded = [pattern for host in rules.load(ROOT / "rules").hosts.hosts for pattern in host.match]
    assert sorted(hosts.read(ROOT / "rules")) == sorted(loaded)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("match: [a.b, 'c.d', \"e.f:443\"] # why", ["a.b", "c.d", "e.f:443"]),
        ("  - match: [a.b]", ["a.b"]),
        ("match:\n  - a.b # one\n  # two\n\n  - 'c.d'\nprovider: x\n  - no", ["a.b", "c.d"]),
        ('match: ["a.b",\n  "c.d", # yes\n  "[::1]:11434"]', ["a.b", "c.d", "[::1]:11434"]),
        ("# match: [a.b]\nmatches: [c.d]", []),
        ("match: []", []),
    ],
)
def test_lists(text: str, found: list[str]) -> None:
    """Both forms of a list, over several lines, with comments."""
    assert hosts.patterns(text) == found


@pytest.mark.parametrize("text", ["match: a.b", "match: *all", "match: [a b]", "match: [a, {b: c}]", "\nmatch: [a,\nb"])
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    """It names the line; no host is passed over in silence."""
    with pytest.raises(RedirectError, match=r"hosts\.yaml:\d"):
        hosts.patterns(text)


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("api.openai.com", True),
        ("API.openai.com.", True),
        ("xapi.openai.com", False),
        ("api.openai.com.evil.example", False),
        ("my.openai.azure.com", True),
        ("a.b.openai.azure.com", False),
        ("chatgpt.com", True),
        ("a.b.chatgpt.com", True),
        ("notchatgpt.com", False),
    ],
)
def test_names(name: str, matches: bool) -> None:
    """Patterns are anchored, as the engine's: `*` is one label or a part of one, a leading `**.` any number."""
    names = hosts.Names(["api.openai.com", "*.openai.azure.com", "**.chatgpt.com:443", "10.0.0.1:8000", "[::1]:11434"])
    assert names.match(name) is matches
    assert names.plain == ["api.openai.com"]
    assert names.addresses == {ip_address("10.0.0.1"), ip_address("::1")}


# --- DNS ---


def answer(name: str, *addresses: str) -> bytes:
    """An IPv4 packet with a DNS answer."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    message = struct.pack("!HHHHHH", 1, 0x8180, 1, len(addresses), 0, 0) + question
    for text in addresses:
        packed = ip_address(text).packed
        message += b"\xc0\x0c" + struct.pack("!HHIH", 1 if len(packed) == 4 else 28, 1, 60, len(packed)) + packed
    return b"\x45" + bytes(19) + struct.pack("!HHHH", 53, 9, 0, 0) + message


def test_answers_are_learned() -> None:
    """A and AAAA records of a name that matches; none of another."""
    packet = answer("api.openai.com", "203.0.113.1", "2001:db8::1")
    assert dns.addresses(packet, lambda name: name == "api.openai.com") == {
        ip_address("203.0.113.1"),
        ip_address("2001:db8::1"),
    }
    assert dns.addresses(packet, lambda _: False) == set()


@given(st.binary(max_size=200))
def test_any_packet(data: bytes) -> None:
    """Whatever comes from port 53, nothing breaks."""
    assert dns.addresses(data, lambda _: True) is not None


@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    """A valid answer with bytes changed or cut off: what is learned is addresses, or nothing."""
    packet = bytearray(answer("api.openai.com", "203.0.113.1"))
    for _ in range(data.draw(st.integers(0, 4))):
        packet[data.draw(st.integers(28, len(packet) - 1))] = data.draw(st.integers(0, 255))
    assert len(dns.addresses(bytes(packet[: data.draw(st.integers(0, len(packet)))]), lambda _: True)) <= 64


def test_a_name_that_points_to_itself_ends() -> None:
    """Compression pointers cannot make us run for ever."""
    looping = b"\x45" + bytes(27) + struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 0) + b"\xc0\x0c\0\1\0\1"
    assert dns.addresses(looping, lambda _: True) == set()


# --- settings ---


@pytest.mark.parametrize(
    "wanted",
    [
        Settings((settings.place("127.0.0.1:8443"), settings.place("[::1]:8443")), (443, 8443 + 1), (8080,)),
        Settings((settings.place("10.0.0.1:1"),), when_down="pass", host="all", netns=2**63),
        Settings((settings.place("[2001:db8::1]:65535"),), host="listed"),
    ],
)
def test_settings_go_there_and_back(wanted: Settings) -> None:
    """What the programs are told is what status shows."""
    assert settings.unpack(wanted.pack(7)) == (7, wanted)


@pytest.mark.parametrize(
    "make",
    [
        lambda: settings.place("localhost:1"),
        lambda: settings.place("0.0.0.0:8443"),
        lambda: settings.place("127.0.0.1:0"),
        lambda: Settings(()),
        lambda: Settings((settings.place("127.0.0.1:1"), settings.place("127.0.0.2:1"))),
        lambda: Settings((settings.place("127.0.0.1:443"),)),
        lambda: Settings((settings.place("127.0.0.1:1"),), ports=tuple(range(1000, 1009))),
        lambda: Settings((settings.place("127.0.0.1:1"),), ports=(70000,)),
        lambda: pods.Choice(["some"]),
    ],
)
def test_what_makes_no_sense_is_a_wrong_command_line(make: object) -> None:
    """Exit code 2, one line."""
    with pytest.raises(RedirectError) as error:
        make()  # type: ignore[operator]
    assert error.value.code == 2
    assert "\n" not in str(error.value)


# --- pods ---


@pytest.mark.parametrize(
    ("folder", "uid"),
    [
        ("kubepods-burstable-pod1b2c3d4e_0000_1111_2222_333344445555.slice", "1b2c3d4e-0000-1111-2222-333344445555"),
        ("kubepods-pod1b2c3d4e_0000_1111_2222_333344445555.slice", "1b2c3d4e-0000-1111-2222-333344445555"),
        ("pod1b2c3d4e-0000-1111-2222-333344445555", "1b2c3d4e-0000-1111-2222-333344445555"),
        ("pod0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
        ("kubepods-burstable.slice", None),
        ("podman", None),
    ],
)
def test_pods_by_folder(folder: str, uid: str | None) -> None:
    """As containerd, CRI-O and Docker make them, by systemd or by themselves."""
    assert pods.uid(folder) == uid


def test_pods_are_chosen() -> None:
    """By namespace or label, each enough; one that nothing is known of only where all are."""
    pod = pods.Pod("u", "prod", "web", {"app": "web"}, "sa")
    table = {"all": (True, True), "namespace=prod": (True, False), "namespace=dev": (False, False)}
    table |= {"label=app=web": (True, False), "label=app=api": (False, False)}
    assert {text: (pods.Choice([text]).takes(pod), pods.Choice([text]).takes(None)) for text in table} == table


def test_what_is_published_the_engine_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A static pod has the uid of its cgroup; labels are not told on."""
    monkeypatch.setattr(pods, "PODS_FILE", tmp_path / "run" / "pods.json")
    meta = {
        "uid": "u",
        "namespace": "n",
        "name": "p",
        "labels": {"secret": "x"},
        "annotations": {"kubernetes.io/config.hash": "h"},
    }
    pods.publish(pods.parse(json.dumps({"items": [{"metadata": meta, "spec": {"serviceAccountName": "s"}}]}).encode()))
    text = (tmp_path / "run" / "pods.json").read_bytes()
    assert b"secret" not in text
    assert {uid: (pod.namespace, pod.name, pod.service_account) for uid, pod in engine_parse(text).items()} == {
        "h": ("n", "p", "s")
    }


# --- what is needed ---


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (lambda nowhere: needs.check_kernel("4.19.0-1-amd64"), needs.OLD_KERNEL),
        (lambda nowhere: needs.check_kernel("5.14.99"), needs.OLD_KERNEL),
    ],
)
def test_an_old_kernel(check: object, code: int, tmp_path: Path) -> None:
    """One line that says which kernel is needed."""
    with pytest.raises(RedirectError, match=r"5\.15 is needed") as error:
        check(tmp_path)  # type: ignore[operator]
    assert error.value.code == code


def test_missing_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bcc the package is named, without headers the script that brings them."""
    monkeypatch.setitem(sys.modules, "bcc", None)
    with pytest.raises(RedirectError, match="python3-bpfcc") as error:
        needs.check_compiler(tmp_path, tmp_path / "none")
    assert error.value.code == needs.NO_BCC
    monkeypatch.setitem(sys.modules, "bcc", sys)
    with pytest.raises(RedirectError, match="scripts/setup-ebpf") as error:
        needs.check_compiler(tmp_path, tmp_path / "none")
    assert error.value.code == needs.NO_HEADERS


@pytest.mark.parametrize(
    ("capabilities", "fine"),
    [
        ("000001ffffffffff", True),
        (f"{1 << 12 | 1 << 38 | 1 << 39:016x}", True),
        (f"{1 << 12 | 1 << 21:016x}", True),  # before Linux 5.8 CAP_SYS_ADMIN was CAP_BPF and CAP_PERFMON
        (f"{1 << 38 | 1 << 39:016x}", False),
        ("0000000000000000", False),
    ],
)
def test_rights(capabilities: str, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; what is missing is named."""
    monkeypatch.setattr(needs.Path, "read_text", lambda _: f"Name:\tx\nCapEff:\t{capabilities}\n")
    if fine:
        needs.check_rights()
        return
    with pytest.raises(RedirectError, match="CAP_NET_ADMIN") as error:
        needs.check_rights()
    assert error.value.code == needs.NO_RIGHTS


def test_the_command_line_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is missing, it is one line and an exit code, not a traceback."""
    monkeypatch.setattr(needs, "check_rights", lambda: (_ for _ in ()).throw(RedirectError("not root", 10)))
    for words in (["attach"], ["detach"], ["status"], ["run", "--", "true"]):
        assert cli.main(words) == 10
        assert capsys.readouterr().err == "redirect: not root\n"
    assert cli.main(["run"]) == 2


def test_a_table_of_nftables() -> None:
    """One transaction, loopback left alone, IPv6 dropped where the proxy has no address of it."""
    text = nft.script(Settings((settings.place("10.0.0.1:8443"),), host="listed"), [], [], {ip_address("203.0.113.1")})
    assert text.startswith("table inet mitmesh {}\ndelete table inet mitmesh\n")
    assert "elements = { 203.0.113.1 }" in text
    assert "ip daddr @listed4 meta nfproto ipv4 tcp dport { 443 } dnat ip to 10.0.0.1:8443" in text
    assert "ip6 daddr @listed6 meta nfproto ipv6 tcp dport { 443 } drop" in text
    assert text.index("127.0.0.0/8 accept") < text.index("dnat")


# --- house rules ---


def test_only_the_standard_library_and_bcc() -> None:
    """The loader runs under the system's Python, as root: it imports nothing else."""
    found = set()
    for file in LOADER:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    assert found - set(sys.stdlib_module_names) == {"bcc", "loader"}


@pytest.mark.parametrize("file", LOADER, ids=lambda file: file.name)
def test_the_systems_python_may_be_old(file: Path) -> None:
    """Ubuntu 22.04 has 3.10."""
    ast.parse(file.read_text(), feature_version=(3, 10))


def test_names_fit_the_kernel() -> None:
    """It cuts names of programs and maps at 15 characters: none of ours is."""
    assert all(len(name) <= 15 for name in [*programs.HOOKS, *(f"mitmesh_{each}" for each in programs.MAPS)])


def test_the_kubelet_is_asked_with_a_token(tmp_path: Path) -> None:
    """A URL is asked with the token of a file, directly; a file is read."""
    seen = []

    class Kubelet(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"items": []}')

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "token").write_text("secret\n")
    with HTTPServer(("127.0.0.1", 0), Kubelet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        read = pods.source(f"http://127.0.0.1:{server.server_port}/pods", str(tmp_path / "token"), None)
        assert pods.parse(read()) == []
        server.shutdown()
    assert seen == [("/pods", "Bearer secret")]


def test_a_silent_kubelet_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of pods stays in force, and it is said once."""
    said: list[str] = []
    here = {"u": tmp_path}
    monkeypatch.setattr(pods, "roots", lambda: [tmp_path])
    monkeypatch.setattr(pods, "running", lambda _: iter(here.items()))
    monkeypatch.setattr(pods, "PODS_FILE", tmp_path / "run" / "pods.json")
    answers: list[bytes | OSError] = [
        b'{"items": [{"metadata": {"uid": "u", "namespace": "prod"}}]}',
        OSError(),
        OSError(),
    ]

    def read() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    watch = pods.Watch(pods.Choice(["namespace=prod"]), read, said.append)
    chosen = watch.chosen()
    assert chosen == {tmp_path.stat().st_ino}
    here["v"] = tmp_path  # new, and the kubelet is silent
    assert watch.chosen() == watch.chosen() == chosen
    assert len(said) == 1


@pytest.mark.parametrize(
    "proxy", [[], ["--proxy", "[::1]:8443"], ["--proxy", "10.0.0.1:8443", "--proxy", "[::1]:8443"]]
)
def test_pods_need_a_proxy_they_can_reach(proxy: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A pod's loopback is its own: refused in one line, before anything is attached."""
    assert cli.main(["attach", "--pods", "all", *proxy]) == 2
    error = capsys.readouterr().err
    assert "pods cannot reach" in error
    assert error.count("\n") == 1
