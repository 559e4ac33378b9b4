"""A simulator of Tiingo: what others use of it."""

from sandbox.simulators.tiingo.daily import last_published
from sandbox.simulators.tiingo.iex import iex_minute_truth
from sandbox.simulators.tiingo.limits import Plan, PlanLimits
from sandbox.simulators.tiingo.simulator import TiingoSimulator

__all__ = ["Plan", "PlanLimits", "TiingoSimulator", "iex_minute_truth", "last_published"]
