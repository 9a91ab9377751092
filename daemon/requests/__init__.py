"""What people ask of the running daemon, and how the daemon or the command carries it out."""
