"""The schema."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from mitmesh.store import migrations
from mitmesh.store.database import connect, migrate, read_only
from mitmesh.store.rows import COLUMNS, CONNECTION_COLUMNS


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    """A file that is up to date stays as it is."""
    for migration in (migrations.audit, migrations.content):
        path = tmp_path / f"{migration.name}.db"
        schemas = []
        for _ in range(2):
            with closing(connect(path)) as conn:
                migrate(conn, migration)
            schemas.append(read_only(path).schema)
        assert schemas[0] == schemas[1]


def test_tables_have_the_columns_that_rows_have(tmp_path: Path) -> None:
    """Every column that is written exists, and none exists that is never written."""
    with closing(connect(tmp_path / "audit.db")) as conn:
        migrate(conn, migrations.audit)
    db = read_only(tmp_path / "audit.db")
    assert set(db.table("exchanges").columns_dict) == {*COLUMNS, "turn", "worker"}
    assert set(db.table("connections").columns_dict) == {*CONNECTION_COLUMNS, "id"}
