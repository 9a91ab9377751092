"""Candles in memory: which are missing, larger units, features. Pure."""
