"""A simulator of Financial Modeling Prep: what others use of it."""

from sandbox.simulators.fmp.simulator import FmpLimits, FmpSimulator, Plan, create_front

__all__ = ["FmpLimits", "FmpSimulator", "Plan", "create_front"]
