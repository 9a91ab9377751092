"""The demo: the local exchange and the daemon, and a check of what they did."""
