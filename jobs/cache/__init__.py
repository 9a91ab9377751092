"""Caches of this process and the Redis tier behind them; nothing that decides reads Redis."""
