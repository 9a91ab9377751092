"""Backtests: recorded candles traded by the code that trades live, in memory and virtual time."""
