"""What every other package of `jobs` stands on: job values, errors, cooldowns, bounded input."""
