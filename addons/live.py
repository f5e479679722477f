"""Show what happens now at the control port's /live: events of calls, and the sessions that run."""

from mitmesh.engine import door

addons = door("live")
