"""Bars of coarser intervals: what others use of them."""

from resources.storage.aggregates.contract import (
    Aggregates,
    Difference,
    Progress,
    RefreshResult,
    Source,
)

__all__ = ["Aggregates", "Difference", "Progress", "RefreshResult", "Source"]
