"""The exchange's matching engine and money rules for one account, without I/O."""
