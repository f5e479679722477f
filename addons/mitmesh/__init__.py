"""mitmesh: stackable mitmproxy addons that govern AI traffic."""

__version__ = "0.1.0"
