from __future__ import annotations

from mitmesh.launch.doctor import Finding


def test_what_others_named_does_not_steer_the_terminal() -> None:
    """A certificate's issuer or a command's words come from others; the two lines of a finding are its only ones."""
    said = str(Finding("trust", False, "issued by \x1b[2J\nok    all is well", "remove \r\x07it"))
    assert said == "FAIL  trust     issued by ?[2J?ok    all is well\n      next      remove ??it"
