"""FRED and ALFRED: what other rooms use of it."""

from resources.providers.fred.client import IN_FLIGHT, FredClient, classifier
from resources.providers.fred.wire import classify_error

__all__ = ["IN_FLIGHT", "FredClient", "classifier", "classify_error"]
