"""A simulator of Coinbase: what others use of it."""

from sandbox.simulators.coinbase.simulator import CoinbaseLimits, CoinbaseSimulator

__all__ = ["CoinbaseLimits", "CoinbaseSimulator"]
