"""Tiingo: what others use of it."""

from resources.providers.tiingo.client import IN_FLIGHT, KEY_SCHEME, TiingoClient
from resources.providers.tiingo.wire import refusal

__all__ = ["IN_FLIGHT", "KEY_SCHEME", "TiingoClient", "refusal"]
