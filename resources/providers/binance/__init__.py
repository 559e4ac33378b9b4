"""Binance spot: what other rooms use of it."""

from resources.providers.binance.client import FILES_IN_FLIGHT, IN_FLIGHT, BinanceClient
from resources.providers.binance.wire import classify_error, classify_file_error

__all__ = ["FILES_IN_FLIGHT", "IN_FLIGHT", "BinanceClient", "classify_error", "classify_file_error"]
