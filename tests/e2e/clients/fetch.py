"""Python: the standard library alone."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
    print(answer.status, answer.headers["x-mesh-id"])
