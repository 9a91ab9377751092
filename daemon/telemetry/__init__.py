"""Log lines, their outputs, metrics and statistics."""
