"""When slots come due, how they run, and the ledger that each of them ends in."""
