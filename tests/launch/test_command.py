"""mitm.conf, the launcher's own options and the person's make one command line."""

from itertools import pairwise
from pathlib import Path

import pytest

from mitmesh.launch import ROOT, LaunchError, command

PORTS = {"--port": 1, "--gateway-port": 2, "--control-port": 3, "--browse-port": 4}


def sets(made: list[str]) -> list[str]:
    return [value for flag, value in pairwise(made) if flag == "--set"]


def conf(tmp_path: Path, text: str) -> dict[str, list[str]]:
    (tmp_path / "mitm.conf").write_text(text)
    return command.read_conf(tmp_path / "mitm.conf")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("a: true\nb: 3\nc: x y", {"a": ["true"], "b": ["3"], "c": ["x y"]}),
        ("a: [x, 2, false]", {"a": ["x", "2", "false"]}),
        ("a:", {"a": []}),
    ],
)
def test_values_are_as_mitmproxy_takes_them(tmp_path, text, wanted):
    """Booleans are lower case, a list is a value each, an empty option sets nothing."""
    assert conf(tmp_path, text) == wanted


def test_no_file_is_no_options(tmp_path):
    """mitm.conf may be absent."""
    assert command.read_conf(tmp_path / "mitm.conf") == {}


@pytest.mark.parametrize("text", ["a: 1.5", "- a", "a: {b: c}", "a: [", "a: 1\na: 2", "\x00", "a: !!python/object:x 1"])
def test_what_cannot_be_read_is_one_line(tmp_path, text):
    """A float (mitmproxy crashes on it), a wrong shape or bad YAML is one line that names the file."""
    with pytest.raises(LaunchError) as caught:
        conf(tmp_path, text)
    assert "mitm.conf" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    """A file that is not UTF-8 is refused, not a traceback."""
    (tmp_path / "mitm.conf").write_bytes(b"a: \xff\xfe\x00")
    with pytest.raises(LaunchError, match=r"mitm\.conf"):
        command.read_conf(tmp_path / "mitm.conf")


def test_the_shipped_file_can_be_read():
    """mitm.conf as shipped gives options."""
    assert command.read_conf(ROOT / "mitm.conf")["block_global"] == ["true"]


def test_sockets_and_state_are_ours(tmp_path):
    """Ports, folders and the closed start come from the launcher, not from mitm.conf."""
    made = command.mitmdump(tmp_path, PORTS, True, {"server": ["true"], "x": ["1", "2"]}, ["-q"])
    assert made[-1] == "-q"
    assert {
        "server=false",
        "flow_detail=0",
        "x=1",
        "x=2",
        "mesh_demo=true",
        "mesh_listen=127.0.0.1:1",
        "mesh_gateway=127.0.0.1:2",
        "mesh_control=127.0.0.1:3",
        f"mesh_data={tmp_path}",
        f"confdir={tmp_path / 'ca'}",
    } <= set(sets(made))
    assert "server=true" not in sets(made)


@pytest.mark.parametrize("rest", [["--set", "tcp_timeout=5"], ["--set=tcp_timeout=5"]])
def test_what_follows_the_dashes_wins(tmp_path, rest):
    """An option set after `--` is not set by us too: mitmproxy refuses two values."""
    made = command.mitmdump(tmp_path, PORTS, False, {"tcp_timeout": ["3600"]}, rest)
    assert made[-len(rest) :] == rest
    assert "tcp_timeout=3600" not in made


@pytest.mark.parametrize("option", ["confdir", "mesh_data"])
def test_the_folder_of_state_is_chosen_in_one_place(tmp_path, option):
    """What MITMESH_HOME decides cannot be set otherwise: the launcher would look in the wrong folder."""
    with pytest.raises(LaunchError, match=f"{option} cannot be set here: set MITMESH_HOME"):
        command.mitmdump(tmp_path, PORTS, False, {}, ["--set", f"{option}=elsewhere"])
