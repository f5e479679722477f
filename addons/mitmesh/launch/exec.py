"""scripts/exec: one command, governed, with nothing installed."""

from __future__ import annotations

import os
import shlex
import sys

from mitmesh.launch import LaunchError, environment, home

USAGE = "usage: scripts/exec -- COMMAND [ARGUMENT ...], or scripts/exec --print"
LISTED = (
    "the rules list an LLM host on this machine (or cannot be read), so what calls localhost goes through the proxy; "
    "it refuses other servers here that rules/egress.yaml does not allow"
)


def main(argv: list[str] | None = None) -> None:
    """Become the command; exits with one clear line where it could not be governed or does not exist."""
    given = sys.argv[1:] if argv is None else argv
    show, command = given == ["--print"], given[1:] if given[:1] == ["--"] else given
    if not show and (not command or command[0].startswith("-")):
        sys.exit(USAGE)
    try:
        places = environment.running(home())
        variables = environment.variables(home(), places)
    except LaunchError as error:
        sys.exit(f"mitmesh: {error}")
    if show:
        for name, value in variables.items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        return
    if environment.LOOPBACK[0] not in variables["NO_PROXY"].split(","):
        sys.stderr.write(f"mitmesh: {LISTED}\n")
    environ = {name: value for name, value in os.environ.items() if name != environment.KEY_LOG}
    try:
        os.execvpe(command[0], command, environ | variables)
    except OSError as error:
        sys.stderr.write(f"mitmesh: {command[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
