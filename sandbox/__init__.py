"""A local Upbit and Gemini on loopback, replaying recorded market data; for tests and trials."""
