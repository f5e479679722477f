"""Builds Datasette over the audit's files, and serves it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from datasette import hookimpl
from datasette.plugins import pm

from mitmesh.browse import access, pages, search
from mitmesh.browse.questions import ACCESS, AUDIT, CONTENT, Question
from mitmesh.browse.reads import ACCESS as ACCESS_FILE
from mitmesh.browse.reads import Reads
from mitmesh.browse.users import Users

HERE = Path(__file__).parent
FILES = ("audit.db", "content.db")
PLUGINS = HERE.parent / "launch" / "datasette_plugins"
SETTINGS = {
    "allow_download": False,  # a file cannot be taken past the record of reads
    "sql_time_limit_ms": 3_000,
    "default_cache_ttl": 0,
    "truncate_cells_html": 400,
    "suggest_facets": False,  # they cost more than the page on a large audit; the useful ones are set
}
EXCHANGES = {
    "title": "Calls",
    "description": "One row per LLM call. Unknown is empty; money is micro-dollars, durations milliseconds.",
    "sort_desc": "id",
    "size": 50,
    "facets": ["team", "model", "outcome", "origin", "billing"],
    "label_column": "id",
}


def build(folder: Path) -> access.Site:
    """Datasette over those of the audit's files in `folder` that exist, with the record of reads beside them."""
    for plugin in (access, pages, search, sys.modules[__name__]):
        if not pm.is_registered(plugin):
            pm.register(plugin, name=plugin.__name__)
    users, reads = Users(folder), Reads(folder)
    users.begin()
    files = [str(folder / name) for name in (*FILES, ACCESS_FILE) if (folder / name).exists()]
    return access.Site(
        users,
        reads,
        files,
        metadata=METADATA,
        settings=SETTINGS,
        secret=users.secret,
        plugins_dir=str(PLUGINS),
        template_dir=str(HERE / "templates"),
        static_mounts=[("mesh-static", str(HERE / "static"))],
    )


def _queries(questions: dict[str, Question]) -> dict[str, dict[str, str]]:
    return {name: {"sql": q.sql, "title": q.title, "description": q.about} for name, q in questions.items()}


METADATA = {
    "title": "mitmesh",
    "databases": {
        "audit": {
            "description": "What was called, by whom, what was decided, what it used and cost. No texts.",
            "queries": _queries(AUDIT),
            "tables": {
                "exchanges": EXCHANGES,
                "verdicts": {"facets": ["stage", "action", "rule_id", "mode"], "sort_desc": "exchange"},
                "connections": {"facets": ["kind", "host"], "sort_desc": "id"},
                "workers": {"hidden": True},
            },
        },
        "content": {
            "description": "Texts, as the rules let them be kept. Whoever opens this is recorded in access.",
            "queries": _queries(CONTENT),
            "tables": {"messages": {"facets": ["role"], "sort_desc": "id", "size": 20, "label_column": "role"}},
        },
        "access": {
            "description": "Who read content. Rows can only be added.",
            "queries": _queries(ACCESS),
            "tables": {"reads": {"facets": ["name"], "sort_desc": "id"}},
        },
    },
}


@hookimpl  # type: ignore[untyped-decorator]
def extra_css_urls(datasette: Any) -> list[str]:
    """Datasette's own pages in our colours, dark too."""
    return ["/mesh-static/datasette.css"] if isinstance(datasette, access.Site) else []


@hookimpl  # type: ignore[untyped-decorator]
def menu_links(datasette: Any, actor: Any) -> list[dict[str, str]]:
    """What is in the corner of Datasette's own pages."""
    if not isinstance(datasette, access.Site) or not actor:
        return []
    links = [("/", "Overview"), ("/sessions", "Sessions"), (pages.CALLS, "Calls"), ("/audit", "Tables and questions")]
    if access.is_auditor(actor):
        links += [("/content/search", "Search texts"), ("/access", "Who read content")]
    return [{"href": href, "label": label} for href, label in links]


def main() -> None:
    """`folder port`: serve until told to end."""
    import uvicorn

    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    uvicorn.run(
        build(folder).app(), host="127.0.0.1", port=port, log_level="warning", lifespan="on", server_header=False
    )


if __name__ == "__main__":
    main()
