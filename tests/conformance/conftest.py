"""The clients that several conformance tests share."""

from fixtures.sdk import async_client, client

__all__ = ["async_client", "client"]
