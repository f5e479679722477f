"""Answer what was answered already."""

from mitmesh.engine import door

addons = door("cache")
