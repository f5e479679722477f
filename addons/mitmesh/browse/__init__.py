"""The audit in Datasette: who may look at what, the pages that answer the first questions, and who read content.

It imports no mitmproxy and nothing of the engine: it is a process of its own, over files.
"""
