"""The jobs built from what is open, and when each is due."""
