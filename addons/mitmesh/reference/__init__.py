"""The reference pages in docs/, made from the code: `python -m mitmesh.reference` writes them anew."""

from collections.abc import Callable

from mitmesh.reference.headers import headers_markdown
from mitmesh.reference.metrics import metrics_markdown
from mitmesh.reference.options import options_markdown
from mitmesh.reference.rules import rules_markdown
from mitmesh.reference.tables import tables_markdown

PAGES: dict[str, Callable[[], str]] = {
    "headers.md": headers_markdown,
    "metrics.md": metrics_markdown,
    "options.md": options_markdown,
    "rules.md": rules_markdown,
    "tables.md": tables_markdown,
}
"""Each page of docs/ and what makes it; a test compares them."""
