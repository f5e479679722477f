"""Keep one row of every exchange in SQLite, opened before anything leaves and completed at the end."""

from mitmesh.engine import door

addons = door("commit")
