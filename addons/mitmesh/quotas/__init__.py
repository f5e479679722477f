"""Budgets: what a limit is, what a call would take of it, and the ledgers that count."""
