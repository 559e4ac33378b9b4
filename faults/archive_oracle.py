"""The oracle of the archive: hot rows and archived rows beside the simulators' truth.

Here: what was loaded and may have been archived, dropped and restored (a claim), the evidence
about it, and what is wrong with it, in sentences. Not here: what the bucket holds (icebergs.py),
aggregates (recomputed.py), or what was done to the pipeline (archive_scenarios.py).

Nothing here asks the code under test: tables are read by SQL of the oracle's own, snapshots by
pyiceberg, files by pyarrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import LiteralString

import pandas as pd
import psycopg
import pyarrow as pa

from faults.dataset_oracle import Slice, stored_rows
from faults.icebergs import Iceberg, read_iceberg
from faults.oracle import (
    HELD,
    UNFINISHED,
    Evidence,
    answers,
    secret_findings,
    stored_texts,
    unsettled_letters,
)
from faults.recomputed import aggregate_findings
from marketdata.datasets import DATASETS
from resources.storage.object_store import S3Settings
from sandbox.control import SimulatorControl

SHOWN = 3
Days = Sequence[tuple[date, date]]
"""Spans of days: the first one, and the one after the last."""

LOCKS: Mapping[str, LiteralString] = {
    "{} advisory locks are held: {}": """
        select classid || '.' || objid || ' by ' || pid from pg_locks
        where
            locktype = 'advisory'
            and database = (select oid from pg_database where datname = current_database())""",
    "{} sessions were left open: {}": """
        select pid || ' ' || left(query, 40) from pg_stat_activity
        where
            datname = current_database()
            and backend_type = 'client backend'
            and pid <> pg_backend_pid()""",
}
"""What must be free when no worker runs, also after a worker was killed."""

LEDGER: Mapping[str, LiteralString] = {
    "{} ledgers call days archived that are in the table: {}": """
        select coverage.dataset || ' of ' || coverage.instrument_id || ' by ' || coverage.provider
        from coverage
        where
            coverage.state = 'archived'
            and not isempty(
                coverage.sessions - coalesce(
                    (
                        select range_agg(dropped.span) from archive_tombstone as dropped
                        where
                            dropped.restored_at is null
                            and dropped.dataset = coverage.dataset
                    ),
                    '{}'::datemultirange
                )
            )""",
}
SETTLED_LEDGER: Mapping[str, LiteralString] = {
    "{} ledgers call days complete that were dropped: {}": """
        select distinct
            coverage.dataset || ' of ' || coverage.instrument_id || ' by ' || coverage.provider
        from coverage
        inner join archive_tombstone as dropped
            on
                dropped.restored_at is null
                and dropped.dataset = coverage.dataset
        where coverage.state = 'complete' and coverage.sessions && dropped.span""",
    "{} changes wait for the refresh of aggregates: {}": """
        select instrument_id || ' ' || span from minute_bar_invalidation""",
}
"""Further conditions once the archive is settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What was loaded of a dataset that is archived monthly.

    Attributes:
        slice: Its dataset, symbols and days.
        former: Rows as they were before the provider restated some of them; else None.
    """

    slice: Slice
    former: pa.Table | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Rows of one claim, by where the oracle found them.

    Attributes:
        truth: What the provider serves now.
        hot: What the table holds.
        archived: What the files of the current snapshot hold.
        dropped: Days of live tombstones.
        closed_before: The first day that is not archived yet.
    """

    truth: pd.DataFrame
    hot: pd.DataFrame
    archived: pd.DataFrame
    dropped: Days
    closed_before: date


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOracle:
    """Looks at one scenario's archive.

    Attributes:
        bucket: The S3 server itself, without the failing front.
        secrets: Texts that must not stand in any log or table.
    """

    database_url: str
    control: SimulatorControl
    bucket: S3Settings
    secrets: tuple[str, ...]

    def look(self, claims: Sequence[Archived], *, settled: bool = True) -> Evidence:
        """Gather the evidence once no worker runs.

        Args:
            claims: All that was loaded of their datasets.
            settled: Interrupted commands have been run again to their end. Otherwise the archive
                may be behind the table, late rows and aggregates may wait, and runs of killed
                workers may wait for the next command to end them.
        """
        wrong: list[str] = []
        lost_of: set[tuple[str, str]] = set()
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            for claim in claims:
                iceberg = read_iceberg(connection, self.bucket, claim.slice.dataset)
                wrong += iceberg.findings(logged=settled)
                places = self._places(connection, claim, iceberg)
                lost_of |= {(claim.slice.name, symbol) for symbol in _lost(places)["symbol"]}
                wrong += row_findings(claim.slice.name, places, settled=settled)
                versions = _frame(_versions(connection, claim.slice))
                former = None if claim.former is None else _frame(claim.former)
                wrong += version_findings(
                    claim.slice.name, former, versions, places, settled=settled
                )
                if settled:
                    wrong += aggregate_findings(connection, claim.slice, places.truth)
            wrong += [
                *answers(connection, {**LOCKS, **LEDGER}),
                *(answers(connection, {**HELD, **SETTLED_LEDGER}) if settled else ()),
                *secret_findings(self.secrets, stored_texts(connection)),
            ]
            unfinished = answers(connection, UNFINISHED)
            letters = unsettled_letters(connection)
        asked = sum(len(claim.slice.symbols) for claim in claims)
        return Evidence(
            wrong=tuple(wrong),
            unfinished=tuple(unfinished),
            letters=letters,
            tickers=asked,
            complete_tickers=asked - len(lost_of),
        )

    def truth(self, part: Slice) -> pa.Table:
        """Return what the provider serves of a slice now."""
        return self.control.dataset_truth(
            part.dataset, part.symbols, start=part.start, end=part.end, provider=part.provider
        )

    def dropped(self, dataset: str) -> Days:
        """Return the days that live tombstones name."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            return _dropped(connection, dataset)

    def snapshots(self, dataset: str) -> int:
        """Count the snapshots that the dataset's table keeps."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            files = read_iceberg(connection, self.bucket, dataset).files
        return len({file.snapshot_id for file in files})

    def _places(self, connection: psycopg.Connection, claim: Archived, iceberg: Iceberg) -> Places:
        own = claim.slice
        return Places(
            truth=_frame(self.truth(own)),
            hot=_frame(stored_rows(connection, own)),
            archived=_frame(iceberg.rows(own.schema, own.provider)),
            dropped=_dropped(connection, own.dataset),
            closed_before=datetime.now(UTC).date().replace(day=1),
        )


def row_findings(name: str, places: Places, *, settled: bool) -> list[str]:
    """Report rows that are lost, duplicate, different, foreign, or gone without a tombstone.

    Args:
        name: The slice's name, for the sentences.
        places: Frames with ``symbol``, the moment as second column, and values behind it.
        settled: See ``ArchiveOracle.look``.
    """
    truth, hot, archived = places.truth, places.hot, places.archived
    key = list(truth.columns[:2])
    gone = _marked(truth, key, hot)
    silent = gone[~_is_dropped(gone, places) & _is_in(gone, archived, key)]
    overridden = _is_in(archived, hot, key)
    differing = _differing(archived, truth, key)
    stale = differing if settled else differing & _is_dropped(archived, places) & ~overridden
    findings = [
        (_lost(places), "are lost: neither the table nor the archive has them"),
        (silent, "left the table without a tombstone"),
        (hot[hot.duplicated(key)], "stand in the table twice"),
        (archived[archived.duplicated(key)], "stand in the archive twice"),
        (hot[~_is_in(hot, truth, key)], "of the table were never served"),
        (archived[~_is_in(archived, truth, key)], "of the archive were never served"),
        (hot[_differing(hot, truth, key)], "of the table differ from the truth"),
        (archived[stale], "of the archive differ from the truth"),
    ]
    if settled:
        closed = truth[_days(truth) < places.closed_before]
        findings += [
            (hot[_is_dropped(hot, places)], "are in the table though they were dropped"),
            (_marked(closed, key, archived), "of closed months are not in the archive"),
        ]
    return [
        f"{name}: {len(rows)} rows {finding}, {_sample(rows)}"
        for rows, finding in findings
        if len(rows)
    ]


def version_findings(
    name: str,
    former: pd.DataFrame | None,
    kept: pd.DataFrame,
    places: Places,
    *,
    settled: bool,
) -> list[str]:
    """Report former values that are lost, and versions that no provider ever served.

    Until the archive is settled, the former value of a late row is the archived one.

    Args:
        name: The slice's name, for the sentences.
        former: All rows before some were restated (at most once); None if none were.
        kept: The stored versions.
        places: Where the rows are now.
        settled: See ``ArchiveOracle.look``.
    """
    key = list(places.truth.columns[:2])
    before = former if former is not None else kept.iloc[:0]
    restated = before[_differing(before, places.truth, key)]
    is_kept = _is_in(restated, kept, list(restated.columns))
    if not settled:
        is_kept |= _is_in(restated, places.archived, list(restated.columns))
    absent = restated[~is_kept]
    foreign = kept[~_is_in(kept, restated, list(kept.columns))]
    return [
        f"{name}: {len(rows)} rows {finding}, {_sample(rows)}"
        for rows, finding in (
            (absent, "were restated and have no version"),
            (foreign, "are versions of what was never restated"),
            (kept[kept.duplicated(list(kept.columns))], "are a version twice"),
        )
        if len(rows)
    ]


def _frame(table: pa.Table) -> pd.DataFrame:
    # Integers with nulls become floats, on every side alike.
    return table.to_pandas()


def _lost(places: Places) -> pd.DataFrame:
    key = list(places.truth.columns[:2])
    left = _marked(places.truth, key, places.hot)
    return _marked(left, key, places.archived)


def _marked(rows: pd.DataFrame, key: list[str], other: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose key is not in ``other``."""
    return rows[~_is_in(rows, other, key)]


def _is_in(rows: pd.DataFrame, other: pd.DataFrame, names: list[str]) -> pd.Series:
    """Return for each row whether ``other`` has an equal one; nulls are equal."""
    known = other[names].drop_duplicates()
    merged = rows[names].merge(known, on=names, how="left", indicator="found")
    return pd.Series((merged["found"] == "both").to_numpy(), rows.index, dtype=bool)


def _differing(rows: pd.DataFrame, truth: pd.DataFrame, key: list[str]) -> pd.Series:
    """Return for each row whether the truth has its key, with other values."""
    return _is_in(rows, truth, key) & ~_is_in(rows, truth, list(rows.columns))


def _days(rows: pd.DataFrame) -> pd.Series:
    """Return the UTC day of each row."""
    return pd.Series(rows.iloc[:, 1].dt.date, rows.index, dtype=object)


def _is_dropped(rows: pd.DataFrame, places: Places) -> pd.Series:
    days = _days(rows)
    marks = [any(start <= day < end for start, end in places.dropped) for day in days]
    return pd.Series(marks, rows.index, dtype=bool)


def _sample(rows: pd.DataFrame) -> str:
    shown = rows.head(SHOWN).iloc[:, :2].itertuples(index=False)
    return "such as " + ", ".join(f"{symbol} {at}" for symbol, at in shown)


def _dropped(connection: psycopg.Connection, dataset: str) -> list[tuple[date, date]]:
    return connection.execute(
        """
        select lower(span), upper(span) from archive_tombstone
        where dataset = %s and restored_at is null
        """,
        [dataset],
    ).fetchall()


def _versions(connection: psycopg.Connection, part: Slice) -> pa.Table:
    return stored_rows(connection, part, table=f"{DATASETS[part.dataset].table}_version")
