"""Connections to Postgres, the embedded server, schema, backup and report."""
