"""docs/options.md: the options of mitmproxy's that are ours, those we set, and those that keep it from starting."""

from __future__ import annotations

from typing import Any

from mitmesh import options
from mitmesh.reference.markdown import page, table

_INTRO = """
`mitmdump --set name=value`, or a line in `mitm.conf` for `scripts/run`, which also takes `-- --set name=value`.
How calls are governed is not here but in [rules](rules.md).
"""
_REFUSED = """
Any other value than this would let calls pass by the stages, or have another key sign: mitmesh does not start with it,
and does not let it be set while it runs. So is any option whose name holds one of {words}.
"""


def options_markdown() -> str:
    """The page."""
    own = [(f"`{name}`", kind.__name__, _value(value), text) for name, (kind, value, text) in options.OWN.items()]
    ours = [(f"`{name}`", _value(value)) for name, value in options.SET.items()]
    refused = [
        (f"`{name}`", _value(value), f"{why[0].upper()}{why[1:]}.") for name, (value, why) in options.REFUSED.items()
    ]
    words = ", ".join(f"`{word}`" for word in options.COMPROMISED_CA)
    return page(
        "Options",
        _INTRO,
        "## Ours\n\n" + table(("option", "type", "default", "meaning"), own),
        "## mitmproxy's, set when mitmesh is loaded\n\n" + table(("option", "value"), ours),
        "## mitmproxy's, refused\n\n" + _REFUSED.format(words=words),
        table(("option", "only value", "why"), refused),
    )


def _value(value: Any) -> str:
    if value in ("", None, []):
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
