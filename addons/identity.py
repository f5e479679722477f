"""Say who calls: team, user and tool, each with the source that attests it."""

from mitmesh.engine import door

addons = door("identity")
