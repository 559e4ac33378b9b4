"""What a program that uses the data imports: one read over database and archive.

Here: names for users, without Dagster behind them. Not here: how anything is read
(resources/reading), or the command line (pipelines/cli).
"""

from marketdata.recovery.errors import MissingBarsError
from resources.reading.bars import coverage, read_bars
from resources.reading.missing import MissingBarsWarning

__all__ = ["MissingBarsError", "MissingBarsWarning", "coverage", "read_bars"]
