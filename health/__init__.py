"""Is it well? Gets its probes as callables."""
