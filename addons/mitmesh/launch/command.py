"""The command line of mitmdump: mitm.conf, what the launcher decides, and what the person at the terminal adds."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mitmesh.launch import ROOT, LaunchError

ENTRY = "import sys; from mitmproxy.tools.main import mitmdump; sys.exit(mitmdump())"
"""Not .venv/bin/mitmdump: that names the folder it was made in, and breaks when the project is moved."""


def read_conf(path: Path) -> dict[str, list[str]]:
    """mitmproxy's options from a YAML file, each with the values `--set` takes; none if there is no file.

    Raises LaunchError.
    """
    try:
        found = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        return {}
    except (YAMLError, UnicodeError, OSError) as error:
        raise LaunchError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found or {}, dict):
        raise LaunchError(f"{path.name} must be a mapping of mitmproxy's options to their values")
    return {str(name): _values(path.name, str(name), value) for name, value in (found or {}).items()}


def _values(file: str, name: str, value: Any) -> list[str]:
    match value:
        case None:
            return []
        case bool():
            return [str(value).lower()]
        case str() | int():
            return [str(value)]
        case list():
            return [item for each in value for item in _values(file, name, each)]
    raise LaunchError(f"{file}: {name} must be text, a whole number, true or false, or a list of these")


def mitmdump(
    home: Path,
    ports: dict[str, int],
    demo: bool,
    conf: dict[str, list[str]],
    rest: list[str],
    transparent: str = "",
    limits: dict[str, str] | None = None,
) -> list[str]:
    """The command that starts the proxy on these ports (by option), `transparent` being that of mesh_transparent and
    `limits` those that teams have for this run.

    mitmproxy takes an option once: what `rest` sets, we do not. Raises LaunchError if it sets what MITMESH_HOME does.
    """
    fixed = {"confdir": [str(home / "ca")], "mesh_data": [str(home)]}
    ours = {
        "server": ["false"],  # the engine opens the sockets when everything is ready
        "flow_detail": ["0"],  # whole URLs are printed otherwise, `?key=` included
        "mesh_listen": [f"127.0.0.1:{ports['--port']}"],
        "mesh_gateway": [f"127.0.0.1:{ports['--gateway-port']}"],
        "mesh_transparent": [transparent],
        "mesh_control": [f"127.0.0.1:{ports['--control-port']}"],
        "mesh_rules": [str(ROOT / "rules")],
        "mesh_demo": [str(demo).lower()],
        **{name: [value] for name, value in (limits or {}).items()},
    }
    given = _given(rest)
    if taken := given & fixed.keys():
        raise LaunchError(f"{min(taken)} cannot be set here: set MITMESH_HOME to another folder")
    wanted = {name: values for name, values in (conf | ours | fixed).items() if name not in given}
    sets = [part for name, values in wanted.items() for value in values for part in ("--set", f"{name}={value}")]
    return [sys.executable, "-c", ENTRY, "-s", str(ROOT / "addons" / "stack.py"), *sets, *rest]


def _given(rest: list[str]) -> set[str]:
    """The names that `--set name=value` and `--set=name=value` set."""
    specs = [after for flag, after in pairwise(rest) if flag == "--set"]
    specs += [flag.removeprefix("--set=") for flag in rest if flag.startswith("--set=")]
    return {spec.partition("=")[0] for spec in specs}
