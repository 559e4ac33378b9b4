"""FRED and ALFRED: what others use of it."""

from resources.providers.fred.client import IN_FLIGHT, FredClient, judge

__all__ = ["IN_FLIGHT", "FredClient", "judge"]
