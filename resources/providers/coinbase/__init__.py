"""Coinbase: what other rooms use of it."""

from resources.providers.coinbase.client import IN_FLIGHT, CoinbaseClient
from resources.providers.coinbase.wire import classify_error

__all__ = ["IN_FLIGHT", "CoinbaseClient", "classify_error"]
