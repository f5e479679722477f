"""Give each call to the gateway its provider and its credential."""

from mitmesh.engine import door

addons = door("route")
