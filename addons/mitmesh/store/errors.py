"""What can go wrong with the audit, in words that name no value of a call."""

from __future__ import annotations


class AuditError(Exception):
    """The audit's folder or files cannot be used; the message says which, why, and what to do."""


class AuditUnavailable(AuditError):
    """A row that had to be on disk is not; the call it belongs to must not leave."""
