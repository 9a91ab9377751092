"""Alerts: the outbox, its channels, and the monitors that raise them."""
