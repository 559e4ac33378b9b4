"""What a deployment costs in a month: what other rooms use of it."""

from usecases.costs.corrections import Correction, corrections
from usecases.costs.estimate import Estimate, Line, estimate
from usecases.costs.platforms import Platform, backs_up, compresses
from usecases.costs.prices import dollars_per_euro
from usecases.costs.workload import RunLoad, ScheduledRuns, Wish, Workload, provider_of

__all__ = [
    "Correction",
    "Estimate",
    "Line",
    "Platform",
    "RunLoad",
    "ScheduledRuns",
    "Wish",
    "Workload",
    "backs_up",
    "compresses",
    "corrections",
    "dollars_per_euro",
    "estimate",
    "provider_of",
]
