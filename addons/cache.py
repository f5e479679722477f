"""Answer what was answered already; have the provider keep what will be asked again."""

from mitmesh.engine import door

addons = door("cache", "vendor")
