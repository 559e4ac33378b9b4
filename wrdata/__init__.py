"""What a program that uses the data imports: one read over database and archive.

Here: names for users, without Dagster behind them. Not here: how anything is read
(resources/reading), or the command line (pipelines/cli).
"""

from resources.reading.bars import read_bars

__all__ = ["read_bars"]
