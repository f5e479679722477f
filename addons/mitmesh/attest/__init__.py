"""What proves who calls: tokens, keys, certificates, the cluster. Nothing here knows a proxy."""

from __future__ import annotations


class Rejected(Exception):
    """A credential that claims to be one of ours and does not hold; the message says why, never what it was."""
