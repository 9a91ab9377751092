"""The caches of the daemon, opened, warmed and counted together."""
