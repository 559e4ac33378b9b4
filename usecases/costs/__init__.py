"""What a deployment costs in a month: what other rooms use of it."""

from usecases.costs.corrections import Correction, corrections
from usecases.costs.estimate import Estimate, Line, estimate
from usecases.costs.platforms import Platform
from usecases.costs.prices import dollars_per_euro
from usecases.costs.workload import ScheduledRuns, Wish, Workload, symbols_of

__all__ = [
    "Correction",
    "Estimate",
    "Line",
    "Platform",
    "ScheduledRuns",
    "Wish",
    "Workload",
    "corrections",
    "dollars_per_euro",
    "estimate",
    "symbols_of",
]
