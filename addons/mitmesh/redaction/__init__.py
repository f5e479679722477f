"""Redaction: finding personal data and secrets in texts, replacing them, and putting them back."""
