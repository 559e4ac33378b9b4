"""A simulator of FRED and ALFRED: what others use of it."""

from sandbox.simulators.fred.simulator import FredLimits, FredSimulator

__all__ = ["FredLimits", "FredSimulator"]
