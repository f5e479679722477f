"""Count what each call used, and what that cost."""

from mitmesh.engine import door

addons = door("meter")
