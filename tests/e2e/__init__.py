"""mitmesh from outside: real clients, real TLS, a provider that remembers every byte."""
