"""The Upbit client: wire types, signing, limits, ticks and calls."""
