"""The signals job and the sources of signals it asks."""
