"""From a decision to fills: risk, the order protocol, the ledger, the paper exchange."""
