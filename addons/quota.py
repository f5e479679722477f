"""Refuse what is over budget, and count what is used."""

from mitmesh.engine import door

addons = door("quota")
