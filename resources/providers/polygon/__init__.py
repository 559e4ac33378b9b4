"""Polygon, now Massive: what other rooms use of it."""

from resources.providers.polygon.client import IN_FLIGHT, PolygonClient
from resources.providers.polygon.wire import classify_error

__all__ = ["IN_FLIGHT", "PolygonClient", "classify_error"]
