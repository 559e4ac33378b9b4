"""Bars of longer intervals: what other rooms use of them."""

from resources.storage.aggregates.contract import (
    Aggregates,
    Difference,
    Progress,
    RefreshResult,
    SourceTable,
)

__all__ = ["Aggregates", "Difference", "Progress", "RefreshResult", "SourceTable"]
