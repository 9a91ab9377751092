"""Recorded candles traded again by the code that trades live, in memory and in virtual time."""
