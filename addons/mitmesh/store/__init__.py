"""The audit's two SQLite files: schema, the writer thread, the queries."""
