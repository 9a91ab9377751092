"""The families of commands."""
