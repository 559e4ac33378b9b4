"""FRED and ALFRED: what others use of it."""

from resources.providers.fred.client import IN_FLIGHT, FredClient, judge
from resources.providers.fred.wire import refusal

__all__ = ["IN_FLIGHT", "FredClient", "judge", "refusal"]
