"""The process itself: background tasks, shutdown, threads, signals, systemd."""
