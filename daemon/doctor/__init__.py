"""What `upbitd doctor` checks."""
