"""Tiingo: what other rooms use of it."""

from resources.providers.tiingo.client import IN_FLIGHT, KEY_SCHEME, TiingoClient
from resources.providers.tiingo.wire import classify_error

__all__ = ["IN_FLIGHT", "KEY_SCHEME", "TiingoClient", "classify_error"]
