"""Texts of our own for what a data set has no samples of: emails. Made up, and said to be so wherever they count.

They tell whether addresses of many forms are found in texts of many kinds, not how often real texts have which.
"""

from __future__ import annotations

import itertools
from typing import Any

_LOCALS = (
    "ann", "ann.lee", "ann.lee+orders", "a_lee", "ann-marie", "o'brien", "ANN.LEE", "7ann", "ann.lee.1987", "info",
    "müller", "li.wei%home", "x",
)  # fmt: skip
_DOMAINS = (
    "example.com", "mail.example.co.uk", "example.org", "EXAMPLE.NET", "firma-beispiel.de", "sub.sub2.example.edu",
    "example.museum", "bücher.example", "xn--bcher-kva.example", "3m.example.io",
)  # fmt: skip
_CARRIERS = (
    "{}", "Please write to {}.", "{}, bob and I", "<{}>", "mailto:{}?subject=hi", "name,mail\nAnn,{},42", "({})",
    '{{"to": "{}", "cc": null}}', "From: Ann Lee <{}>\nTo: list", "mail={}&next=1", "- {}\n- none", "**{}**",
    "user '{}' not found", "git log: Ann <{}> 2 days ago", "https://x.example/?u={}", "请写信给{}谢谢", "E-Mail:{}",
    "print('to:\\n{}\\n')", "|{}|", "`{}`", "email:{};tel:none",
)  # fmt: skip
_NONE = (
    "@decorator", "@app.route('/')", "npm i @types/node@20.1.0", "git@github.com:org/repo.git", "user@host", "a @ b",
    "react@18.2.0", "meet @ noon", "x[i]@y[j]", "@media screen and (min-width: 3em)", "C@t", "foo@bar", "@ann",
)  # fmt: skip


def emails() -> list[dict[str, Any]]:
    """Records as presidio-research has them: each address in each kind of text, and texts without any."""
    records: list[dict[str, Any]] = [{"full_text": text, "spans": []} for text in _NONE]
    for local, domain, carrier in itertools.product(_LOCALS, _DOMAINS, _CARRIERS):
        address = f"{local}@{domain}"
        text = carrier.format(address)
        start = text.index(address)
        span = {"entity_type": "EMAIL_ADDRESS", "start_position": start, "end_position": start + len(address)}
        records.append({"full_text": text, "spans": [span]})
    return records
