"""`run -- COMMAND`: one command and its children, in a cgroup of their own."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from pathlib import Path

from loader import RedirectError, cgroups

CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "DENO_CERT",
)


def person() -> tuple[int, int, str]:
    """Who called sudo (uid, gid, home), or who we are."""
    uid = int(os.environ.get("SUDO_UID", os.getuid()))
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return uid, int(os.environ.get("SUDO_GID", os.getgid())), os.environ.get("HOME", "/")
    return uid, entry.pw_gid, entry.pw_dir


def bundle(named: str | None) -> Path | None:
    """The certificates that clients are to trust: as named, or those of scripts/run. Raises RedirectError."""
    home = os.environ.get("MITMESH_HOME") or str(Path(person()[2]) / ".mitmesh")
    path = Path(named) if named else Path(home) / "ca" / "bundle.pem"
    if path.is_file():
        return path.resolve()
    if named:
        raise RedirectError(f"--ca: there is no file {named}")
    return None


def environment(ca: Path | None) -> dict[str, str]:
    """Ours, with the certificates to trust; without what names a proxy, which would be used in our place."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") and not name.startswith("SUDO_")
    }
    if "SUDO_UID" in os.environ:
        uid, _, home = person()
        kept["HOME"] = home
        try:
            kept["USER"] = kept["LOGNAME"] = pwd.getpwuid(uid).pw_name
        except KeyError:
            pass
    return {**kept, **dict.fromkeys(CA_VARIABLES, str(ca))} if ca else kept


def start(command: list[str], cgroup: Path, environ: dict[str, str]) -> int:
    """Start it in the cgroup, as the person who called sudo; returns its pid."""
    uid, gid, _ = person()
    pid = os.fork()
    if pid:
        return pid
    try:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
        if uid != os.getuid():
            try:
                os.initgroups(pwd.getpwuid(uid).pw_name, gid)
            except KeyError:
                os.setgroups([gid])
            os.setgid(gid)
            os.setuid(uid)
        os.execvpe(command[0], command, environ)
    except FileNotFoundError:
        print(f"redirect: {command[0]}: not found", file=sys.stderr)
        os._exit(127)
    except OSError as error:
        print(f"redirect: {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(126)


def wait(pid: int) -> int:
    """Its exit code, once it ends; what we are told meanwhile is passed on."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        # Ctrl-C comes to the command by itself, from the terminal
        passes = number in (signal.SIGTERM, signal.SIGHUP) or not sys.stdin.isatty()
        signal.signal(number, (lambda got, _: _tell(pid, got)) if passes else signal.SIG_IGN)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _tell(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def left(cgroup: Path) -> int:
    """How many processes of it still run; the cgroup of none is removed."""
    running = sum(len(cgroups.processes(path)) for path in cgroups.walk(cgroup))
    if not running:
        for path in sorted(cgroups.walk(cgroup), reverse=True):
            try:
                path.rmdir()
            except OSError:
                return 1
    return running
