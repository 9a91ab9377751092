"""What is run; knows nothing of when or by whom."""

ALL = ("market", "signals", "orders", "upkeep")
"""The jobs, in the order in which a cycle needs them."""
