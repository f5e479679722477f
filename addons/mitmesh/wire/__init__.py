"""Bytes: framing, compression and JSON splicing. Nothing here knows a provider."""
