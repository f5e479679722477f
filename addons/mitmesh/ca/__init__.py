"""Who signs for the hosts that are decrypted: a name-constrained CA of this install's own, or a company's intermediate.

Clients trust a root whose key was thrown away when it was made. What lies on disk is the key of an intermediate below
it, and both carry the same critical name constraints. The intermediate makes them hold for every client: Java does not
read the constraints of a root that it was told to trust.
"""

from mitmesh.ca.authority import Authority, AuthorityError
from mitmesh.ca.files import RENEW, TRUSTED, WIDE, Signers, fingerprint, look, prepare, rotate
from mitmesh.ca.names import EVERYTHING, Names, outside

__all__ = [
    "EVERYTHING",
    "RENEW",
    "TRUSTED",
    "WIDE",
    "Authority",
    "AuthorityError",
    "Names",
    "Signers",
    "fingerprint",
    "look",
    "outside",
    "prepare",
    "rotate",
]
