"""What is run; knows nothing of when or by whom."""
