"""The oracle of the catalogue's datasets: slices of them beside the simulators' truth.

Here: what was asked for (a slice), the evidence about it, and what is wrong with it, in
sentences. Not here: daily bars of FMP, and what both oracles share (oracle.py), or what was
done to the pipeline (provider_scenarios.py).

Rows are read by SQL of the oracle's own. Two tables are compared as `wrdata sandbox verify` does
it, since that is a function of two tables and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from demo.comparison import compare_rows
from faults.oracle import (
    HELD,
    UNFINISHED,
    Evidence,
    Letter,
    answers,
    at_pace,
    raw_findings,
    secret_findings,
    stored_texts,
    window_findings,
)
from marketdata.datasets import DATASETS
from marketdata.local_days import local_days
from resources.storage.object_store import S3Settings
from sandbox.control import SimulatorControl
from sandbox.simulators.journal import JournalEntry

MINUTE_S = 60.0
PACE_S = 6.0
LIMITS: Mapping[str, Sequence[tuple[int, float]]] = {
    "/polygon/": ((300, MINUTE_S), (at_pace(300), PACE_S)),
    "/tiingo/": ((5_000, 3_600.0), (10, 1.0)),
    "/fred/": ((2, 1.0), (120, MINUTE_S)),
    "/binance/": ((6_000, MINUTE_S),),
    "/binance-files/": ((10, 1.0),),
    "/coinbase/": ((10, 1.0),),
}
"""So much in any closed window of so many seconds, by the beginning of the provider's paths; what
the simulators' keys are allowed, or where nothing is published what this project promises."""
WEIGHTS = {"/binance/api/v3/klines": 2, "/binance/api/v3/aggTrades": 4}
"""What Binance counts for a request; everything else asked of it here counts 1."""
REFUSED = frozenset({418, 429})
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What was asked to be loaded: a dataset of a provider for some subjects.

    Attributes:
        start: First day where days are asked for, else None.
        end: Last day, which has to be over and settled; else None.
        restated: Rows that the scenario made the provider restate, each time it did.
    """

    dataset: str
    provider: str
    subjects: tuple[str, ...]
    start: date | None = None
    end: date | None = None
    restated: int = 0

    @property
    def name(self) -> str:
        """Dataset and provider in words."""
        return f"{self.dataset} of {self.provider}"

    @property
    def schema(self) -> pa.Schema:
        """The quoted schema, with what validation adds to it."""
        dataset = DATASETS[self.dataset]
        return dataset.completed or dataset.wire_schema

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that name a row of a subject."""
        return DATASETS[self.dataset].key

    @property
    def zone(self) -> ZoneInfo:
        """Whose midnight ends a day."""
        return DATASETS[self.dataset].zone


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLetter:
    """An unsettled dead letter, and whose work it keeps."""

    letter: Letter
    dataset: str
    provider: str | None

    def explains(self, one: Slice, subject: str, day: date | None) -> bool:
        """Tell whether a person finds here why a row of ``subject`` is missing."""
        if self.dataset != one.dataset or self.provider not in {one.provider, None}:
            return False
        if self.letter.work == "run":
            return True
        named = self.letter.subject.partition(" ")[0] == subject
        first, last = self.letter.start, self.letter.end
        within = day is None or first is None or last is None or first <= day <= last
        return named and within


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOracle:
    """Looks at slices.

    Attributes:
        bucket: The S3 server itself, without a front that fails.
        per_minute: The limit of the simulated FMP.
        secrets: Texts that nobody may ever read in a log or table.
        logs: A folder whose logs are searched for them.
    """

    database_url: str
    control: SimulatorControl
    bucket: S3Settings
    per_minute: int
    secrets: tuple[str, ...]
    logs: Path

    def look(self, slices: Sequence[Slice]) -> Evidence:
        """Gather the evidence when nobody works any more."""
        wrong: list[str] = []
        unfinished: list[str] = []
        incomplete: set[tuple[str, str]] = set()
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            letters = _letters(connection)
            for one in slices:
                stored, truth = stored_rows(connection, one), self._truth(one)
                absent = _absent(one, stored, truth)
                wrong += row_findings(one, stored, truth)
                wrong += letterless_findings(one, absent, letters)
                wrong += _log_findings(connection, one, stored.num_rows)
                if absent:
                    unfinished.append(f"{one.name}: {len(absent)} rows are missing")
                incomplete |= {(one.name, subject) for subject, _ in absent}
            named = sorted({one.dataset for one in slices})
            wrong += [
                *answers(connection, HELD),
                *raw_findings(connection, self.bucket, named),
                *secret_findings(self.secrets, [*stored_texts(connection), *self._logged()]),
                *budget_findings(self.control.requests(), self.per_minute),
            ]
            unfinished += answers(connection, UNFINISHED)
        asked = sum(len(one.subjects) for one in slices)
        return Evidence(
            wrong=tuple(wrong),
            unfinished=tuple(unfinished),
            letters=tuple(one.letter for one in letters),
            tickers=asked,
            complete_tickers=asked - len(incomplete),
        )

    def unseen(self, one: Slice) -> tuple[int, int]:
        """Count rows of a slice that are missing without a letter, and rows that differ."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            stored, letters = stored_rows(connection, one), _letters(connection)
        own = stored.filter(pc.is_in(stored["symbol"], value_set=pa.array(one.subjects)))
        truth = self._truth(one)
        silent = [
            subject
            for subject, day in _absent(one, own, truth)
            if not any(letter.explains(one, subject, day) for letter in letters)
        ]
        return len(silent), compare_rows(own, truth, key=one.key).different

    def _truth(self, one: Slice) -> pa.Table:
        truth = self.control.dataset_truth(
            one.dataset, one.subjects, start=one.start, end=one.end, provider=one.provider
        )
        if one.schema.equals(truth.schema):
            return truth
        # No provider tells what validation adds, such as which of a day's dividends a row is.
        return DATASETS[one.dataset].validate(truth).accepted

    def _logged(self) -> list[str]:
        kinds = (".log", ".jsonl", ".stdout", ".stderr")
        found = (path for path in self.logs.rglob("*") if path.suffix in kinds)
        return [path.read_text(errors="replace") for path in found]


def row_findings(one: Slice, stored: pa.Table, truth: pa.Table) -> list[str]:
    """Say which stored rows differ from the truth, or are none of it."""
    names = ["symbol", *one.key]
    twice = stored.num_rows - stored.group_by(names).aggregate([]).num_rows
    compared = compare_rows(stored, truth, key=one.key)
    found = (
        (twice, "are stored twice"),
        (compared.different, "differ from the truth"),
        (compared.foreign, "are stored that nobody serves or asked for"),
    )
    shown = ", ".join(compared.sample[:SHOWN])
    return [f"{one.name}: {count} rows {what}, such as {shown}" for count, what in found if count]


def letterless_findings(
    one: Slice, absent: Sequence[tuple[str, date | None]], letters: Sequence[SliceLetter]
) -> list[str]:
    """Say which missing rows no dead letter tells of: those are lost without a word."""
    silent = [
        f"{subject} {day or ''}".rstrip()
        for subject, day in absent
        if not any(letter.explains(one, subject, day) for letter in letters)
    ]
    if not silent:
        return []
    shown = ", ".join(list(dict.fromkeys(silent))[:SHOWN])
    return [f"{one.name}: {len(silent)} rows are missing without a letter, such as {shown}"]


def budget_findings(journal: Sequence[JournalEntry], fmp_per_minute: int) -> list[str]:
    """Say whose limit was broken, by the provider's own log."""
    fmp = ((fmp_per_minute, MINUTE_S), (at_pace(fmp_per_minute), PACE_S))
    found: list[str] = []
    for prefix, windows in {"/stable/": fmp, **LIMITS}.items():
        own = [entry for entry in journal if entry.path.startswith(prefix)]
        sent = [
            datetime.fromisoformat(entry.at)
            for entry in own
            for _ in range(WEIGHTS.get(entry.path, 1))
        ]
        refused = sum(entry.status in REFUSED and entry.fault is None for entry in own)
        for limit, seconds in windows:
            over = window_findings(sent, limit=limit, window=timedelta(seconds=seconds))
            found += [f"{prefix}: {finding}" for finding in over]
        if refused:
            found.append(f"{prefix}: the provider itself refused {refused} requests for its limit")
    return found


def stored_rows(connection: psycopg.Connection, one: Slice, table: str = "") -> pa.Table:
    """Return what is stored of the dataset by the provider, whoever's it is.

    Args:
        connection: To the scenario's database.
        one: Names dataset and provider.
        table: Another one of the same columns, such as that of the versions.
    """
    schema = one.schema
    columns = schema.names[1:]
    kind = DATASETS[one.dataset].instrument_kind.value
    query = sql.SQL(
        "select coalesce(named.ticker, '?'), {columns} from {table} as held"
        " join instrument on instrument.instrument_id = held.instrument_id"
        " left join instrument_ticker as named"
        " on named.instrument_id = held.instrument_id and upper_inf(named.valid)"
        " where held.provider = %s and instrument.kind = %s"
    ).format(
        columns=sql.SQL(", ").join(
            # A document is compared as text.
            sql.SQL("held.{}" + ("::text" if name == "answer" else "")).format(sql.Identifier(name))
            for name in columns
        ),
        table=sql.Identifier(table or DATASETS[one.dataset].table),
    )
    rows = connection.execute(query, [one.provider, kind]).fetchall()
    by_column = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(by_column, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def _absent(one: Slice, stored: pa.Table, truth: pa.Table) -> list[tuple[str, date | None]]:
    """Return subject and day of each row that is not stored; no day where none is asked for."""
    names = ["symbol", *one.key]
    left = truth.select(names).join(stored.select(names), keys=names, join_type="left anti")
    if one.start is None:
        return [(subject, None) for subject in left["symbol"].to_pylist()]
    days = left[one.key[0]]
    if pa.types.is_timestamp(days.type):
        days = local_days(days, one.zone)
    return list(zip(left["symbol"].to_pylist(), days.to_pylist(), strict=True))


def _letters(connection: psycopg.Connection) -> list[SliceLetter]:
    rows = connection.execute(
        """
        select
            dataset, provider, work::text, subject, state::text, error_class,
            lower(sessions), upper(sessions) - 1
        from dead_letter
        where state in ('open', 'retrying', 'parked')
        order by letter_id
        """
    ).fetchall()
    names = ("work", "subject", "state", "error_class", "start", "end")
    return [
        SliceLetter(
            letter=Letter(**dict(zip(names, row, strict=True))), dataset=dataset, provider=provider
        )
        for dataset, provider, *row in rows
    ]


def _log_findings(connection: psycopg.Connection, one: Slice, rows: int) -> list[str]:
    """Say where the ingest log and the table tell different stories."""
    inserted, restated = connection.execute(
        """
        select coalesce(sum(rows_inserted), 0)::bigint, coalesce(sum(rows_restated), 0)::bigint
        from ingest_log where dataset = %s and provider = %s
        """,
        [one.dataset, one.provider],
    ).fetchone() or (0, 0)
    checks = (
        (inserted == rows, f"the log inserted {inserted} rows, there are {rows}"),
        (
            restated == one.restated,
            f"{restated} rows were replaced, {one.restated} should have been",
        ),
    )
    return [f"{one.name}: {sentence}" for right, sentence in checks if not right]
