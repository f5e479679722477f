"""Decide which connections are decrypted, which pass untouched, and which are closed."""

from mitmesh.engine import door

addons = door("scope")
