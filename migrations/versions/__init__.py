"""Alembic revisions, NNNN_what_changes.py, each up and down."""
