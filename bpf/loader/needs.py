"""What redirecting needs of a machine: each missing thing is one line, with what to do, and an exit code of its own."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from loader import RedirectError

NO_RIGHTS, NO_CGROUP, NO_HEADERS, OLD_KERNEL, NO_BCC, REFUSED, TAKEN, ELSEWHERE = 10, 11, 12, 13, 14, 15, 16, 17
"""Exit codes; 1 is anything else, 2 a wrong command line (docs/transparent.md lists them)."""

KERNEL = (5, 15)
RETVAL = (5, 18)
"""Since this kernel a refused connect says ECONNREFUSED; before it, EPERM."""

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
_SYS_ADMIN = 21


def kernel(release: str | None = None) -> tuple[int, int]:
    """Its version, as far as it matters."""
    found = re.match(r"(\d+)\.(\d+)", release or platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def check_rights() -> None:
    """Raises RedirectError unless this process may load and attach programs."""
    status = Path("/proc/self/status").read_text()
    effective = int(re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.M)[1], 16)  # type: ignore[index]
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if missing == ["CAP_NET_ADMIN"] or (missing and not effective >> _SYS_ADMIN & 1):
        who = "not root" if os.geteuid() else "root without capabilities"
        raise RedirectError(f"{who}: {' and '.join(missing)} missing; run it with sudo", NO_RIGHTS)


def check_kernel(release: str | None = None) -> None:
    """Raises RedirectError where the kernel is too old."""
    if kernel(release) < KERNEL:
        needed, here = ".".join(map(str, KERNEL)), release or platform.release()
        raise RedirectError(f"kernel {here} is too old: {needed} is needed; use --engine nft here", OLD_KERNEL)


def check_compiler(modules: Path = Path("/lib/modules"), kheaders: Path = Path("/sys/kernel/kheaders.tar.xz")) -> None:
    """Raises RedirectError without bcc or headers to compile with."""
    try:
        import bcc  # noqa: F401 # only looked for
    except ImportError:
        raise RedirectError(
            "bcc is missing: scripts/setup-ebpf installs the package python3-bpfcc (not PyPI's bcc)", NO_BCC
        ) from None
    folder = modules / platform.release()
    if not ((folder / "build" / "include").is_dir() or kheaders.exists()):
        raise RedirectError(f"no kernel headers at {folder}/build: scripts/setup-ebpf installs some", NO_HEADERS)
