"""Binance spot: what others use of it."""

from resources.providers.binance.client import FILES_IN_FLIGHT, IN_FLIGHT, BinanceClient
from resources.providers.binance.wire import files_refusal, refusal

__all__ = ["FILES_IN_FLIGHT", "IN_FLIGHT", "BinanceClient", "files_refusal", "refusal"]
