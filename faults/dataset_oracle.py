"""The oracle of the catalogue's datasets: slices of them beside the simulators' truth.

Here: what was asked for (a slice), the evidence about it, and what is wrong with it, in
sentences. Not here: daily bars of FMP, and what both oracles share (oracle.py), or what was
done to the pipeline (provider_scenarios.py).

Rows are read by SQL of the oracle's own. Tables are compared by the function of `wrdata sandbox
verify`, which depends on the two tables only.
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
"""Limits (weight, seconds of a closed window), by the prefix of the provider's paths: those of
the simulators' keys, or this project's own where the provider publishes none."""
WEIGHTS = {"/binance/api/v3/klines": 2, "/binance/api/v3/aggTrades": 4}
"""Request weight at Binance, by path; other requests weigh 1."""
REFUSED = frozenset({418, 429})
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What was to be loaded: a dataset of a provider for some symbols.

    Attributes:
        start: First day; None for a dataset without days.
        end: Last day, over and settled; None for a dataset without days.
        restated: Number of rows that the scenario made the provider restate.
    """

    dataset: str
    provider: str
    symbols: tuple[str, ...]
    start: date | None = None
    end: date | None = None
    restated: int = 0

    @property
    def name(self) -> str:
        """Dataset and provider in words."""
        return f"{self.dataset} of {self.provider}"

    @property
    def schema(self) -> pa.Schema:
        """The wire schema, with the columns that validation adds."""
        dataset = DATASETS[self.dataset]
        return dataset.completed or dataset.wire_schema

    @property
    def key(self) -> tuple[str, ...]:
        """Key columns of a row beside its symbol."""
        return DATASETS[self.dataset].key

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its days."""
        return DATASETS[self.dataset].zone


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLetter:
    """An unsettled dead letter, with its dataset and provider."""

    letter: Letter
    dataset: str
    provider: str | None

    def explains(self, part: Slice, symbol: str, day: date | None) -> bool:
        """Return whether this letter explains a missing row of ``symbol``."""
        if self.dataset != part.dataset or self.provider not in {part.provider, None}:
            return False
        if self.letter.work == "run":
            return True
        named = self.letter.subject.partition(" ")[0] == symbol
        first, last = self.letter.start, self.letter.end
        within = day is None or first is None or last is None or first <= day <= last
        return named and within


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOracle:
    """Compares slices with the truth.

    Attributes:
        bucket: The S3 server itself, without the failing front.
        per_minute: The limit of the simulated FMP.
        secrets: Texts that must not stand in any log or table.
        logs: Folder whose logs are searched for secrets.
    """

    database_url: str
    control: SimulatorControl
    bucket: S3Settings
    per_minute: int
    secrets: tuple[str, ...]
    logs: Path

    def look(self, slices: Sequence[Slice]) -> Evidence:
        """Gather the evidence once no worker runs."""
        wrong: list[str] = []
        unfinished: list[str] = []
        incomplete: set[tuple[str, str]] = set()
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            letters = _letters(connection)
            for part in slices:
                stored, truth = stored_rows(connection, part), self._truth(part)
                absent = _absent(part, stored, truth)
                wrong += row_findings(part, stored, truth)
                wrong += letterless_findings(part, absent, letters)
                wrong += _log_findings(connection, part, stored.num_rows)
                if absent:
                    unfinished.append(f"{part.name}: {len(absent)} rows are missing")
                incomplete |= {(part.name, symbol) for symbol, _ in absent}
            named = sorted({part.dataset for part in slices})
            wrong += [
                *answers(connection, HELD),
                *raw_findings(connection, self.bucket, named),
                *secret_findings(self.secrets, [*stored_texts(connection), *self._logged()]),
                *budget_findings(self.control.requests(), self.per_minute),
            ]
            unfinished += answers(connection, UNFINISHED)
        asked = sum(len(part.symbols) for part in slices)
        return Evidence(
            wrong=tuple(wrong),
            unfinished=tuple(unfinished),
            letters=tuple(letter.letter for letter in letters),
            tickers=asked,
            complete_tickers=asked - len(incomplete),
        )

    def unseen(self, part: Slice) -> tuple[int, int]:
        """Count a slice's rows that are missing without a letter, and those that differ."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            stored, letters = stored_rows(connection, part), _letters(connection)
        own = stored.filter(pc.is_in(stored["symbol"], value_set=pa.array(part.symbols)))
        truth = self._truth(part)
        silent = [
            symbol
            for symbol, day in _absent(part, own, truth)
            if not any(letter.explains(part, symbol, day) for letter in letters)
        ]
        return len(silent), compare_rows(own, truth, key=part.key).different

    def _truth(self, part: Slice) -> pa.Table:
        truth = self.control.dataset_truth(
            part.dataset, part.symbols, start=part.start, end=part.end, provider=part.provider
        )
        if part.schema.equals(truth.schema):
            return truth
        # Validation adds columns that no provider serves, such as a dividend's number on its day.
        return DATASETS[part.dataset].validate(truth).accepted

    def _logged(self) -> list[str]:
        kinds = (".log", ".jsonl", ".stdout", ".stderr")
        paths = (path for path in self.logs.rglob("*") if path.suffix in kinds)
        return [path.read_text(errors="replace") for path in paths]


def row_findings(part: Slice, stored: pa.Table, truth: pa.Table) -> list[str]:
    """Report stored rows that differ from the truth, or that it lacks."""
    names = ["symbol", *part.key]
    twice = stored.num_rows - stored.group_by(names).aggregate([]).num_rows
    compared = compare_rows(stored, truth, key=part.key)
    findings = (
        (twice, "are stored twice"),
        (compared.different, "differ from the truth"),
        (compared.foreign, "are stored, but not served or not asked for"),
    )
    shown = ", ".join(compared.sample[:SHOWN])
    return [
        f"{part.name}: {count} rows {finding}, such as {shown}"
        for count, finding in findings
        if count
    ]


def letterless_findings(
    part: Slice, absent: Sequence[tuple[str, date | None]], letters: Sequence[SliceLetter]
) -> list[str]:
    """Report missing rows that no dead letter explains."""
    silent = [
        f"{symbol} {day or ''}".rstrip()
        for symbol, day in absent
        if not any(letter.explains(part, symbol, day) for letter in letters)
    ]
    if not silent:
        return []
    shown = ", ".join(list(dict.fromkeys(silent))[:SHOWN])
    return [f"{part.name}: {len(silent)} rows are missing without a letter, such as {shown}"]


def budget_findings(journal: Sequence[JournalEntry], fmp_per_minute: int) -> list[str]:
    """Report broken request limits, by the simulators' journal."""
    fmp = ((fmp_per_minute, MINUTE_S), (at_pace(fmp_per_minute), PACE_S))
    findings: list[str] = []
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
            findings += [f"{prefix}: {finding}" for finding in over]
        if refused:
            findings.append(
                f"{prefix}: the provider itself refused {refused} requests for its limit"
            )
    return findings


def stored_rows(connection: psycopg.Connection, part: Slice, table: str = "") -> pa.Table:
    """Return the stored rows of the slice's dataset and provider, of any symbol.

    Args:
        connection: To the scenario's database.
        part: Names dataset and provider.
        table: Another table of the same columns, such as the versions.
    """
    schema = part.schema
    columns = schema.names[1:]
    kind = DATASETS[part.dataset].instrument_kind.value
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
        table=sql.Identifier(table or DATASETS[part.dataset].table),
    )
    rows = connection.execute(query, [part.provider, kind]).fetchall()
    by_column = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(by_column, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def _absent(part: Slice, stored: pa.Table, truth: pa.Table) -> list[tuple[str, date | None]]:
    """Return symbol and day of each row that is not stored; day None in a snapshot."""
    names = ["symbol", *part.key]
    left = truth.select(names).join(stored.select(names), keys=names, join_type="left anti")
    if part.start is None:
        return [(symbol, None) for symbol in left["symbol"].to_pylist()]
    days = left[part.key[0]]
    if pa.types.is_timestamp(days.type):
        days = local_days(days, part.zone)
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


def _log_findings(connection: psycopg.Connection, part: Slice, rows: int) -> list[str]:
    """Report contradictions between the ingest log and the table."""
    inserted, restated = connection.execute(
        """
        select coalesce(sum(rows_inserted), 0)::bigint, coalesce(sum(rows_restated), 0)::bigint
        from ingest_log where dataset = %s and provider = %s
        """,
        [part.dataset, part.provider],
    ).fetchone() or (0, 0)
    checks = (
        (inserted == rows, f"the log inserted {inserted} rows, there are {rows}"),
        (
            restated == part.restated,
            f"{restated} rows were replaced, {part.restated} should have been",
        ),
    )
    return [f"{part.name}: {sentence}" for right, sentence in checks if not right]
