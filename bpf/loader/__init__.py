"""The loader of redirect.c: the system's Python, its standard library, and bcc (Debian's python3-bpfcc) to compile."""

from __future__ import annotations


class RedirectError(Exception):
    """What keeps us from doing what was asked, in one line for people; `code` is the exit code (see needs.py)."""

    def __init__(self, said: str, code: int = 1) -> None:
        super().__init__(said)
        self.code = code
