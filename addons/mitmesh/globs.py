"""The one kind of pattern in rules and commands: `*` is any text, all else is itself."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=1024)
def glob(pattern: str) -> re.Pattern[str]:
    """A pattern in which `*` is any text; letter case aside. Names of models have brackets (`[1m]`), so they are no
    signs here. Use it with `fullmatch`."""
    return re.compile(".*".join(re.escape(piece) for piece in pattern.split("*")), re.IGNORECASE | re.DOTALL)
