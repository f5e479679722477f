"""Matching of prompts for the cache, as pure functions and classes: what is the same text, and what means the same."""
