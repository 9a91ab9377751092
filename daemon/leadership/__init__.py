"""Leader election, the term of a leader, and the fence around its orders."""
