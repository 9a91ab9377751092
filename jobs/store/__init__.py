"""Tables, queries, settings and caches."""
