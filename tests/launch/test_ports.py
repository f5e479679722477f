"""Ports are checked before anything starts."""

import socket

import pytest

from mitmesh.launch import LaunchError, ports


def test_free_ports_pass():
    """Ports that can be opened, and 0 as often as one likes, are fine."""
    ports.check({"--port": ports.free(), "--gateway-port": 0, "--control-port": 0})


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_named_with_its_option(address):
    """The message says which port, and which option chooses another, also if all addresses hold it."""
    with socket.create_server((address, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"^port {port} is in use: choose another with --gateway-port$"):
            ports.check({"--port": 0, "--gateway-port": port})


def test_the_same_port_twice_is_refused():
    """Two options with one port are a mistake that is named at once."""
    port = ports.free()
    with pytest.raises(LaunchError, match=f"--port and --control-port are both {port}"):
        ports.check({"--port": port, "--control-port": port})


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port):
    """Numbers out of range are refused by name."""
    with pytest.raises(LaunchError, match="--port must be from 0 to 65535"):
        ports.check({"--port": port})
