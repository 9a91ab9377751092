"""A local Upbit and Gemini that replay recorded data, with faults on demand."""
