"""Polygon, now Massive: what others use of it."""

from resources.providers.polygon.client import IN_FLIGHT, PolygonClient
from resources.providers.polygon.wire import refusal

__all__ = ["IN_FLIGHT", "PolygonClient", "refusal"]
