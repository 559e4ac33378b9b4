"""The simulated world's fundamentals behind one class: restatements and truths.

Here: the entry for controls and tests. Not here: statements (statements.py and its truth,
truth.py), companies and the index (reference.py), or HTTP (../../fmp/fundamentals.py).
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from marketdata.calendars import utc_now
from marketdata.statements import StatementKind
from sandbox.simulators.worlds.fundamentals import reference, truth
from sandbox.simulators.worlds.fundamentals.statements import FiledStatements
from sandbox.simulators.worlds.shares.world import World


class Fundamentals:
    """Statements, companies and the index's history of the simulated world.

    Args:
        world: Listings and prices.
        folder: Where restatements are kept, the world's folder; without one they last as long as
            this object. Share one object between restating and serving code.
    """

    def __init__(self, world: World, folder: Path | None = None) -> None:
        self.world = world
        self.statements = FiledStatements(world, folder)

    def restate(
        self,
        ticker: str,
        fiscal_year: int,
        period: str,
        factor: float,
        *,
        at: datetime | None = None,
    ) -> None:
        """Restate a published period by a filing that is accepted at ``at``.

        Of each quarter revenue becomes ``factor`` times what was reported first, and the other
        lines of ``ledger.reclassified`` follow, in all three statements and in the
        ratios; FY means all four quarters. The year is the sum of its quarters as they are then.

        Args:
            ticker: Ours.
            fiscal_year: The year in which the fiscal year ends.
            period: Q1 to Q4, or FY.
            factor: Above zero.
            at: Aware; the machine's clock by default.

        Raises:
            ValueError: Nothing trades as ``ticker``, the period is unknown or was not public by
                then, or the factor is not above zero.
        """
        self.statements.restate(ticker, fiscal_year, period, factor, at or utc_now())

    def statement_truth(
        self, kind: StatementKind, tickers: Iterable[str], now: datetime
    ) -> pa.Table:
        """Return all statements (WIRE_STATEMENTS of ``kind``) that are public by ``now``."""
        return truth.statement_truth(self.statements, kind, tickers, now)

    def company_truth(self, tickers: Iterable[str], now: datetime) -> pa.Table:
        """Return the data of each company (WIRE_COMPANIES)."""
        return reference.company_truth(self.world, tickers, now)

    def index_change_truth(self, now: datetime) -> pa.Table:
        """Return the changes of the index by ``now`` (WIRE_INDEX_CHANGES)."""
        return reference.index_change_truth(self.world, now)
