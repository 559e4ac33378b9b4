"""Reads stored rows of the catalogue's datasets.

Here: rows as Arrow, and totals. Not here: storing them (batches.py), or the
coverage ledger (ledger/coverage.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from psycopg import sql as composed

from marketdata.datasets import Dataset
from resources.storage.timescale import Timescale
from resources.storage.wire_values import DOCUMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetTotals:
    """How much is stored of a dataset.

    Attributes:
        versions: Replaced values that are kept.
        latest_at: When a row was last inserted or restated (aware UTC).
    """

    rows: int
    symbols: int
    versions: int
    latest_at: datetime | None


class DatasetReader:
    """Reads datasets.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def read(self, dataset: Dataset, tickers: Sequence[str], provider: str) -> pa.Table:
        """Return the rows of some symbols, sorted by symbol and key.

        Args:
            dataset: A dataset of the catalogue.
            tickers: Our symbols, as of today.
            provider: Only rows of this provider.

        Returns:
            A table in the dataset's wire schema, with our symbol in ``symbol``.
        """
        columns = dataset.wire_schema.names[1:]
        query = composed.SQL(
            "select named.ticker, {columns} from {table} as held"
            " inner join instrument_ticker as named"
            " on named.instrument_id = held.instrument_id and named.kind = %(kind)s"
            " and named.valid @> current_date"
            " where named.ticker = any(%(tickers)s) and held.provider = %(provider)s"
            " order by named.ticker, {key}"
        ).format(
            columns=composed.SQL(", ").join(_column(name) for name in columns),
            table=composed.Identifier(dataset.table),
            key=composed.SQL(", ").join(composed.Identifier("held", name) for name in dataset.key)
            if dataset.key
            else composed.SQL("1"),
        )
        with self._timescale.connection() as connection:
            rows = connection.execute(
                query,
                {
                    "kind": dataset.instrument_kind.value,
                    "tickers": list(tickers),
                    "provider": provider,
                },
            ).fetchall()
        by_column = list(zip(*rows, strict=True)) or [()] * len(dataset.wire_schema)
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(by_column, dataset.wire_schema, strict=True)
        ]
        return pa.table(arrays, schema=dataset.wire_schema)

    def totals(self, dataset: Dataset, provider: str) -> DatasetTotals:
        """Count the stored rows of a provider."""
        query = composed.SQL(
            "select count(*), count(distinct instrument_id), max(known_from),"
            " (select count(*) from {versions} where provider = %(provider)s)"
            " from {table} as held where provider = %(provider)s"
            " and exists (select from instrument where"
            " instrument.instrument_id = held.instrument_id and instrument.kind = %(kind)s)"
        ).format(
            table=composed.Identifier(dataset.table),
            versions=composed.Identifier(f"{dataset.table}_version"),
        )
        with self._timescale.connection() as connection:
            row = connection.execute(
                query, {"provider": provider, "kind": dataset.instrument_kind.value}
            ).fetchone()
        rows, symbols, latest_at, versions = row or (0, 0, None, 0)
        return DatasetTotals(rows=rows, symbols=symbols, versions=versions, latest_at=latest_at)


def _column(name: str) -> composed.Composed:
    column = composed.Identifier("held", name)
    if name == DOCUMENT:
        return composed.SQL("{}::text").format(column)
    return composed.SQL("{}").format(column)
