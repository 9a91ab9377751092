"""Gemini behind one Protocol, as an untrusted and metered adviser."""
