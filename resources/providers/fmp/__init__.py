"""Financial Modeling Prep: what other rooms use of it."""

from resources.providers.fmp.actions import FmpActions
from resources.providers.fmp.client import IN_FLIGHT, FmpClient, connect
from resources.providers.fmp.records import FmpRecords
from resources.providers.fmp.wire import classify_error

__all__ = ["IN_FLIGHT", "FmpActions", "FmpClient", "FmpRecords", "classify_error", "connect"]
