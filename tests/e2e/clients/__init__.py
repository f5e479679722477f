"""One small program per kind of client: GET a URL in whatever way its environment says, print status and X-Mesh-Id."""
