"""Write the reference pages: `python -m mitmesh.reference`, with `addons` on PYTHONPATH."""

from pathlib import Path

from mitmesh.reference import PAGES

for name, made in PAGES.items():
    (Path(__file__).parents[3] / "docs" / name).write_text(made())
