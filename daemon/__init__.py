"""The process: decides when, owns resources, knows everybody."""
