"""How well redaction finds: `scripts/eval-redaction`."""
