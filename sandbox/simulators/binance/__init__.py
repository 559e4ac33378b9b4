"""A simulator of Binance spot: what others use of it."""

from sandbox.simulators.binance.files import BinanceFilesSimulator
from sandbox.simulators.binance.simulator import BinanceSimulator
from sandbox.simulators.binance.weight import BinanceLimits

__all__ = ["BinanceFilesSimulator", "BinanceLimits", "BinanceSimulator"]
