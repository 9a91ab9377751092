"""Trading rules as pure functions over values: states, ledger, risk, exits, order forms."""
