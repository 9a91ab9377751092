"""config.toml, environment and credentials as one frozen, checked value."""
