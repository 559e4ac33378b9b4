"""What a deployment stores and does: rows, bytes at each place, requests and minutes of runs.

Here: from tickers and years to quantities, by the catalogue, the measured figures and the runs that
the schedules start. Not here: when schedules start (pipelines/schedules.py, whose runs the command
counts), prices (prices.py), or which machine does it (platforms.py).

A year has 252 sessions, and a month is a twelfth of it. All rows stay in the database, as they do
where WRDATA_RETENTION names no dataset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from marketdata.datasets import DATASETS, Dataset, InstrumentKind
from marketdata.recovery.limits import PUBLISHED
from marketdata.symbols import provider_symbols
from resources.storage.compression import LAYOUTS
from usecases.costs.measured import value

MONTHS = Decimal(12)
SESSIONS_A_YEAR = Decimal(252)
DAYS_A_YEAR = Decimal(365)
MINUTES_A_MONTH = Decimal(730 * 60)
ANSWERS: Mapping[str, tuple[int, int]] = {
    "minute_bars": (2, 0),
    "crypto_bars": (2, 0),
    "daily_bars": (2, 0),
    "companies": (1, 52),
    "macro_observations": (1, 12),
}
"""How often a row is kept in answers of other bytes, assumed: at first, and each year. Bars are
asked for twice, a company's profile has its price, a series has a vintage a month."""
OTHER_ANSWERS = (1, 4)
"""The same of all else, which changes each quarter."""
NOT_COUNTED = {"crypto_trades", "index_changes"}
"""Datasets that no schedule loads, or of which there are too few rows to count."""
HISTORY_DAYS = Decimal(90)
"""Days for which Dagster's events stay (docs/decisions/0066-what-grows-has-a-bound.md)."""
DEEDS_PER_RUN = Decimal(2)
"""Rows of the audit log for each run, assumed: it was launched, and it ended."""
FULL_BACKUPS, WAL_DAYS = Decimal(5), Decimal(14)
"""Weekly full backups of 30 days, and the WAL since the last but one (deploy/backup)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for.

    Attributes:
        tickers: Number of shares.
        minute_bars: Whether their minutes are loaded, too.
        years: Years of history that are stored when the month begins.
    """

    tickers: int
    minute_bars: bool
    years: int

    def datasets(self) -> Sequence[Dataset]:
        """Return the datasets that are loaded."""
        left_out = {*NOT_COUNTED, *(() if self.minute_bars else ("minute_bars",))}
        return [dataset for name, dataset in DATASETS.items() if name not in left_out]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLoad:
    """What one run loads of a dataset.

    Attributes:
        requests: HTTP requests, at most.
        symbols: Tickers, pairs or series.
    """

    dataset: str
    requests: int
    symbols: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRuns:
    """The runs of a schedule.

    Attributes:
        a_month: How many there are in a month.
        loads: Empty for archives, verifications and upkeep.
    """

    schedule: str
    a_month: Decimal
    loads: tuple[RunLoad, ...] = ()

    @property
    def requests(self) -> int:
        """HTTP requests of one run, at most."""
        return sum(load.requests for load in self.loads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A dataset's rows, and its bytes at each place.

    Attributes:
        hot: Bytes in tables and indexes, without compression; longer bars and ledger included.
        compressible: The part of ``hot`` that is old enough to be compressed.
        compressed: What that part takes in the Community edition.
    """

    dataset: str
    rows: Decimal
    rows_a_month: Decimal
    hot: Decimal
    compressible: Decimal
    compressed: Decimal
    parquet: Decimal
    raw: Decimal
    wal_a_month: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """All quantities, in bytes, requests and minutes.

    Attributes:
        log_bytes: The log of loads, the audit log and Dagster's events.
        run_minutes: Minutes of all runs of a month, at the published limits of the keys.
        busy: The share of a month for which each provider's key is in use; more than 1 cannot be.
    """

    wish: Wish
    stored: Sequence[Stored]
    log_bytes: Decimal
    requests: Decimal
    runs: Decimal
    run_minutes: Decimal
    slowest: str
    slowest_minutes: Decimal
    busy: Mapping[str, Decimal]

    @property
    def busiest(self) -> tuple[str, Decimal]:
        """The provider whose key is in use for the largest share of the month, and that share."""
        provider = max(self.busy, key=lambda name: self.busy[name])
        return provider, self.busy[provider]

    def database_bytes(self, *, compresses: bool) -> Decimal:
        """Return the size of the database, in either edition of TimescaleDB."""
        saved = sum((part.compressible - part.compressed for part in self.stored), Decimal())
        hot = sum((part.hot for part in self.stored), self.log_bytes)
        return hot - saved if compresses else hot

    @property
    def parquet_bytes(self) -> Decimal:
        """Bytes of the archive's files."""
        return sum((part.parquet for part in self.stored), Decimal())

    @property
    def raw_bytes(self) -> Decimal:
        """Bytes of the raw zone."""
        return sum((part.raw for part in self.stored), Decimal())

    @property
    def wal_bytes_a_month(self) -> Decimal:
        """Bytes of WAL that a month's loads write."""
        return sum((part.wal_a_month for part in self.stored), Decimal())

    def full_backup_bytes(self, *, compresses: bool) -> Decimal:
        """Return the bytes of one full backup; compressed chunks do not become smaller again."""
        packed = sum((part.compressed for part in self.stored), Decimal()) if compresses else 0
        plain = self.database_bytes(compresses=compresses) - packed
        return plain * value("database", "backup_share") + packed

    def backup_bytes(self, *, compresses: bool) -> Decimal:
        """Return the bytes of all kept backups and of the WAL kept with them.

        WAL is counted as it is written: how far pgBackRest packs it was not measured.
        """
        wal = self.wal_bytes_a_month * WAL_DAYS * MONTHS / DAYS_A_YEAR
        return FULL_BACKUPS * self.full_backup_bytes(compresses=compresses) + wal

    def objects_written(self) -> Decimal:
        """Return the writes to the bucket in a month: answers, and a WAL file a minute at most."""
        return self.requests + MINUTES_A_MONTH


def workload(wish: Wish, runs: Sequence[ScheduledRuns]) -> Workload:
    """Return the quantities of a deployment."""
    names = {dataset.name for dataset in wish.datasets()}
    counted = [run for run in runs if {load.dataset for load in run.loads} <= names | NOT_COUNTED]
    requests = sum((run.a_month * run.requests for run in counted), Decimal())
    number = sum((run.a_month for run in counted), Decimal())
    slowest = max(counted, key=minutes_of)
    return Workload(
        wish=wish,
        stored=[stored(dataset, wish) for dataset in wish.datasets()],
        log_bytes=_log_bytes(counted, wish.years, requests, number),
        requests=requests,
        runs=number,
        run_minutes=sum((run.a_month * minutes_of(run) for run in counted), Decimal()),
        slowest=slowest.schedule,
        slowest_minutes=minutes_of(slowest),
        busy=_busy(counted),
    )


def _busy(runs: Sequence[ScheduledRuns]) -> Mapping[str, Decimal]:
    """Return the share of a month for which each provider's key is in use."""
    busy: dict[str, Decimal] = {}
    for run in runs:
        for load in run.loads:
            minutes = run.a_month * _paced_seconds(load) / 60
            provider = provider_of(load.dataset)
            busy[provider] = busy.get(provider, Decimal()) + minutes / MINUTES_A_MONTH
    return busy


def minutes_of(run: ScheduledRuns) -> Decimal:
    """Return the minutes of one run: its start, and its requests at the key's published pace."""
    paced = sum((_paced_seconds(load) for load in run.loads), Decimal())
    return (value("dagster", "seconds_per_run") + paced) / 60


def _paced_seconds(load: RunLoad) -> Decimal:
    limits = PUBLISHED[provider_of(load.dataset)]
    return load.requests * Decimal(str(limits.interval_s))


def provider_of(dataset: str) -> str:
    """Return the provider that serves a dataset unless the configuration names another."""
    return next(iter(DATASETS[dataset].sources))


def symbols_of(dataset: Dataset, tickers: int) -> int:
    """Return the number of tickers, pairs or series that a dataset has rows of."""
    if dataset.instrument_kind is InstrumentKind.EQUITY:
        return tickers
    return len(provider_symbols(dataset, provider_of(dataset.name)))


def stored(dataset: Dataset, wish: Wish) -> Stored:
    """Return a dataset's rows and bytes after ``wish.years``."""
    name, symbols = dataset.name, symbols_of(dataset, wish.tickers)
    days = (SESSIONS_A_YEAR if dataset.zone.key != "UTC" else DAYS_A_YEAR) * wish.years
    number = Decimal(symbols * dataset.rows)
    rows = number * days if dataset.by_day else number
    a_month = rows / wish.years / MONTHS
    in_table = rows * (value(name, "hot_bytes") + _aggregates(name))
    ledger = symbols * days * _ledger_bytes(dataset)
    old = _old_share(dataset, wish.years)
    compressible = rows * old * value(name, "hot_bytes")
    at_first, each_year = ANSWERS.get(name, OTHER_ANSWERS)
    return Stored(
        dataset=name,
        rows=rows,
        rows_a_month=a_month,
        hot=in_table + ledger,
        compressible=compressible,
        compressed=compressible * _compressed_share(dataset),
        parquet=rows * value(name, "parquet_bytes"),
        raw=rows * value(name, "raw_bytes") * (at_first + each_year * wish.years),
        wal_a_month=a_month * value(name, "wal_bytes"),
    )


def _aggregates(name: str) -> Decimal:
    return value(name, "aggregates_bytes") if name in {"daily_bars", "minute_bars"} else Decimal()


def _ledger_bytes(dataset: Dataset) -> Decimal:
    """Return the bytes of the count of a day's rows; of daily bars the ledger's spans say it."""
    counts = dataset.by_day and dataset.rows > 1
    return value("ledger", "bytes_per_day") if counts else Decimal()


def _old_share(dataset: Dataset, years: int) -> Decimal:
    """Return the share of a dataset's rows that is older than its table's hot days."""
    hot = [layout.hot_days for layout in LAYOUTS if layout.table == dataset.table]
    if not hot:
        return Decimal()
    return max(Decimal(), 1 - Decimal(hot[0]) / (DAYS_A_YEAR * years))


def _compressed_share(dataset: Dataset) -> Decimal:
    of_table = "daily_bars" if dataset.name == "daily_bars" else "minute_bars"
    return value(of_table, "compressed_share")


def _log_bytes(
    runs: Sequence[ScheduledRuns], years: int, requests: Decimal, number: Decimal
) -> Decimal:
    """Return the bytes of what is noted about work: its log, its deeds, and Dagster's events."""
    months = MONTHS * years
    log = requests * months * value("ledger", "bytes_per_answer")
    deeds = number * DEEDS_PER_RUN * months * value("audit", "bytes_per_deed")
    events = sum(
        (
            run.a_month
            * (
                value("dagster", "events_per_run")
                + sum(load.symbols for load in run.loads) * value("dagster", "events_per_symbol")
            )
            for run in runs
        ),
        Decimal(),
    )
    kept = HISTORY_DAYS * MONTHS / DAYS_A_YEAR
    return log + deeds + events * kept * value("dagster", "bytes_per_event")
