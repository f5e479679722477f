"""One call through the proxy, as a client that is set up right would make it, and what it tells."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path

SECONDS = 15


@dataclass
class Probe:
    """What became of it. `broke` names the layer that failed: proxy, tunnel, trust or http; None where none did."""

    broke: str | None = None
    detail: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def governed(self) -> bool:
        """Did mitmesh see it?"""
        return "x-mesh-id" in self.headers

    @property
    def clock_off(self) -> float:
        """Seconds by which this machine's clock is ahead of the answer's date; 0 where it has none."""
        try:
            return time.time() - parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return 0.0


def ask(proxy: str, host: str, bundle: Path) -> Probe:
    """GET https://host/v1/models through the proxy (host:port), without any key, trusting this bundle."""
    address, _, port = proxy.rpartition(":")
    context = ssl.create_default_context(cafile=str(bundle))
    name, _, number = host.partition(":")
    connection = http.client.HTTPSConnection(address.strip("[]"), int(port), timeout=SECONDS, context=context)
    connection.set_tunnel(name, int(number or 443))
    try:
        connection.request("GET", "/v1/models", headers={"user-agent": "mitmesh-doctor"})
        answer = connection.getresponse()
        return Probe(status=answer.status, headers={key.lower(): value for key, value in answer.getheaders()})
    except ssl.SSLCertVerificationError as error:
        return Probe("trust", error.verify_message)
    except ConnectionRefusedError:
        return Probe("proxy", "nothing listens there")
    except (OSError, socket.gaierror, http.client.HTTPException) as error:
        said = str(error)
        return Probe("tunnel" if "unnel" in said else "http", said)
    finally:
        connection.close()
