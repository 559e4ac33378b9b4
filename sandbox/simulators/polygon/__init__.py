"""A simulator of Polygon, now Massive: what others use of it."""

from sandbox.simulators.polygon.simulator import Plan, PolygonSimulator

__all__ = ["Plan", "PolygonSimulator"]
