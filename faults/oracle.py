"""The oracle: the state after a fault, from the provider's side and the database's.

Here: the evidence (the simulator's truth and journal, the database's rows, letters, runs and
leases) and what is wrong with it, in sentences; an empty list means that nothing is. Not here:
what was done to the pipeline (scenarios.py).

Nothing here asks the code under test: tables are read by SQL of the oracle's own. Only the raw
zone is read by the project's reader, which is checked by it.
"""

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import Any, LiteralString

import pandas as pd
import psycopg

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.recovery import errors
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.raw_zone import RawZone
from sandbox.control import SimulatorControl
from sandbox.simulated_providers import BULK_TOLERANCE_S

KEY = ["ticker", "session_date"]
VALUES = ["open", "high", "low", "close", "volume"]
MINUTE = timedelta(seconds=60)
PACE_WINDOW = timedelta(seconds=6)
LATE = timedelta(seconds=3)
"""How late a request may arrive on a busy machine."""
SHOWN = 3


_RUNS_AT_WORK: LiteralString = """
        select run_id || ' ' || status from dagster.runs
        where status not in ('SUCCESS', 'FAILURE', 'CANCELED')"""
HELD: Mapping[str, LiteralString] = {
    "{} runs are not ended: {}": _RUNS_AT_WORK,
    "{} slots of Dagster's pools are taken: {}": """
        select concurrency_key from dagster.concurrency_slots where run_id is not null""",
    "{} dead letters are claimed: {}": """
        select subject || ' by ' || claimed_by from dead_letter where state = 'retrying'""",
    "{} budgets are reserved or paused ahead: {}": """
        select split_part(budget, ' ', 1) || ' until ' || greatest(next_at, paused_until)
        from request_budget
        where greatest(next_at, paused_until) > clock_timestamp() + interval '5 s'""",
    "{} circuit breakers reject for longer than they may: {}": """
        select provider || ' until ' || retry_at from circuit_breaker
        where retry_at > clock_timestamp() + interval '60 s'""",
    "{} transactions were left open: {}": """
        select coalesce(left(query, 40), '') from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%'
            and pid <> pg_backend_pid()""",
}
"""What must be free when no worker runs."""

UNFINISHED: Mapping[str, LiteralString] = {
    "{} dead letters are left: {}": """
        select subject || ' ' || state || ' (' || error_class || ')' from dead_letter
        where state in ('open', 'retrying', 'parked')""",
    "{} circuit breakers are not closed: {}": """
        select provider || ' ' || state from circuit_breaker where state <> 'closed'""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What was to be loaded: every bar of these tickers from ``start`` to ``end``."""

    tickers: tuple[str, ...]
    start: date = HISTORY_START
    end: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """An unsettled dead letter: open, retrying or parked."""

    work: str
    subject: str
    state: str
    error_class: str
    start: date | None = None
    end: date | None = None
    tickers: tuple[str, ...] = ()
    """Tickers of a lost run; empty means the whole market of its days."""

    def may_concern(self, ticker: str) -> bool:
        """Return whether this letter is about the ticker, or about the whole market."""
        if self.work == "run":
            return not self.tickers or ticker in self.tickers
        return self.work == "session" or self.subject.partition(" ")[0] == ticker

    def explains(self, ticker: str, session: date) -> bool:
        """Return whether this letter explains a missing bar."""
        if self.work == "session":
            return self.subject == session.isoformat()
        if self.work == "run":
            of_days = self.start is not None and self.end is not None
            return ticker in self.tickers or (of_days and self._within(session))
        named, _, day = self.subject.partition(" ")
        if named != ticker:
            return False
        if self.work == "record":
            return day == session.isoformat()
        return self._within(session)

    def _within(self, session: date) -> bool:
        return self.start is None or self.end is None or self.start <= session <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found.

    Attributes:
        wrong: What is wrong even before recovery.
        unfinished: What is allowed until recovery only: missing bars that have a letter, letters,
            a circuit breaker that is not closed.
        letters: Unsettled dead letters.
        tickers: Number of tickers asked for; ``complete_tickers`` have all their bars.
    """

    wrong: tuple[str, ...]
    unfinished: tuple[str, ...]
    letters: tuple[Letter, ...]
    tickers: int
    complete_tickers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """Compares one scenario's world with the truth.

    Attributes:
        bucket: The S3 server itself, without the failing front.
        per_minute: The simulator's limit.
        bulk_interval_s: Seconds that clients keep between bulk requests.
        secrets: Texts that must not stand in any log or table.
    """

    database_url: str
    control: SimulatorControl
    bucket: S3Settings
    per_minute: int
    bulk_interval_s: float
    secrets: tuple[str, ...]

    def look(self, claims: Sequence[Claim], *, listed: bool = True) -> Evidence:
        """Gather the evidence once no worker runs and the sensor has seen failed runs.

        Args:
            claims: What was asked for.
            listed: Whether every missing bar must have a letter.
        """
        truth = self._truth(claims)
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            stored = _stored(connection)
            letters = unsettled_letters(connection)
            wrong = [
                *bar_findings(truth, stored),
                *(letterless_findings(truth, stored, letters) if listed else ()),
                *coverage_findings(stored, _covered(connection)),
                *log_findings(_figures(connection)),
                *secret_findings(self.secrets, stored_texts(connection)),
                *answers(connection, HELD),
                *raw_findings(connection, self.bucket, [DAILY_BARS_DATASET]),
                *self._budget_findings(),
            ]
            unfinished = answers(connection, UNFINISHED)
        lost = missing(truth, stored)
        if len(lost):
            unfinished.append(f"{len(lost)} bars are missing")
        asked = int(truth["ticker"].nunique())
        return Evidence(
            wrong=tuple(wrong),
            unfinished=tuple(unfinished),
            letters=letters,
            tickers=asked,
            complete_tickers=asked - int(lost["ticker"].nunique()),
        )

    def unsettled(self) -> int:
        """Count the dead letters that are open, retrying or parked."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            return len(unsettled_letters(connection))

    def at_work(self) -> int:
        """Count the runs that have not ended."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            return len(connection.execute(_RUNS_AT_WORK).fetchall())

    def held_by(self, pid: int) -> list[str]:
        """Report leases that an ended process still holds."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            leases = connection.execute(
                """
                select count(*) from request_lease
                where pid = %s and released_at is null and expires_at > clock_timestamp()
                """,
                [pid],
            ).fetchone()
        count = leases[0] if leases else 0
        return [f"{count} leases of the ended process {pid} are not released"] if count else []

    def _truth(self, claims: Sequence[Claim]) -> pd.DataFrame:
        last = calendar().last_closed(utc_now())
        frames = [
            self.control.truth(claim.tickers, start=claim.start, end=claim.end or last).to_pandas()
            for claim in claims
        ]
        truth = pd.concat(frames).rename(columns={"symbol": "ticker", "date": "session_date"})
        return truth.drop_duplicates(KEY).astype({"volume": "float64"})

    def _budget_findings(self) -> list[str]:
        journal = self.control.requests()
        sent = [datetime.fromisoformat(entry.at) for entry in journal]
        bulk = [datetime.fromisoformat(entry.at) for entry in journal if "eod-bulk" in entry.path]
        bulk_window = timedelta(seconds=self.bulk_interval_s - BULK_TOLERANCE_S)
        refused = sum(
            entry.status == HTTPStatus.TOO_MANY_REQUESTS and entry.fault is None
            for entry in journal
        )
        return [
            *window_findings(sent, limit=self.per_minute, window=MINUTE),
            *window_findings(sent, limit=at_pace(self.per_minute), window=PACE_WINDOW),
            *window_findings(bulk, limit=1, window=bulk_window),
            *([f"the provider itself refused {refused} requests for its limit"] if refused else []),
        ]


def raw_findings(
    connection: psycopg.Connection, bucket: S3Settings, datasets: Sequence[str]
) -> list[str]:
    """Check that every loaded answer is kept, and that its name is its digest."""
    loaded = connection.execute(
        "select raw_answers from ingest_log where outcome = 'loaded' and dataset = any(%s)",
        [list(datasets)],
    ).fetchall()
    zone = RawZone(ObjectStore(bucket))
    findings = [
        f"{count} loads do not say where their answer is kept"
        for count in [sum(not keys for (keys,) in loaded)]
        if count
    ]
    for key in sorted({key for (keys,) in loaded for key in keys}):
        try:
            zone.get(key)
        except errors.StorageError as error:
            findings.append(f"a loaded answer is not in the raw zone: {error}")
    return findings


def missing(truth: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Return the keys of the bars in ``truth`` that are not stored."""
    merged = truth[KEY].merge(stored[KEY].drop_duplicates(), on=KEY, how="left", indicator="found")
    return merged.loc[merged["found"] == "left_only", KEY]


def bar_findings(truth: pd.DataFrame, stored: pd.DataFrame) -> list[str]:
    """Report stored bars that are duplicate, differ from the truth, or that it lacks."""
    twice = stored[stored.duplicated(KEY)]
    merged = stored.merge(truth, on=KEY, how="left", suffixes=("", "_true"), indicator="found")
    foreign = merged[merged["found"] == "left_only"]
    known = merged[merged["found"] == "both"]
    equal = (known[VALUES].to_numpy() == known[[f"{name}_true" for name in VALUES]].to_numpy()).all(
        axis=1
    )
    wrong: dict[str, pd.DataFrame] = {
        "are stored twice": twice,
        "differ from the truth": known[~equal],
        "are stored, but not served or not asked for": foreign,
    }
    return [
        f"{len(rows)} bars {finding}, such as {_sample(rows)}"
        for finding, rows in wrong.items()
        if len(rows)
    ]


def letterless_findings(
    truth: pd.DataFrame, stored: pd.DataFrame, letters: Sequence[Letter]
) -> list[str]:
    """Report missing bars that no dead letter explains."""
    silent = [
        f"{ticker} {session}"
        for ticker, rows in missing(truth, stored).groupby("ticker")
        for about in [[letter for letter in letters if letter.may_concern(str(ticker))]]
        for session in rows["session_date"]
        if not any(letter.explains(str(ticker), session) for letter in about)
    ]
    if not silent:
        return []
    return [f"{len(silent)} bars are missing without a letter, such as {', '.join(silent[:SHOWN])}"]


def window_findings(arrivals: Iterable[datetime], *, limit: int, window: timedelta) -> list[str]:
    """Report whether some closed window of this length holds more than ``limit`` arrivals.

    Exact, since some fullest window begins with an arrival.
    """
    moments = sorted(arrivals)
    counts = [
        bisect.bisect_right(moments, moment + window) - place
        for place, moment in enumerate(moments)
    ]
    most = max(counts, default=0)
    if most <= limit:
        return []
    begin = moments[counts.index(most)]
    over = sum(count > limit for count in counts)
    finding = (
        f"{most} requests in {window.total_seconds():g} s from {begin:%H:%M:%S.%f} on, {limit} are "
        f"allowed ({over} windows over)"
    )
    return [finding]


def at_pace(per_minute: int) -> int:
    """Return how many evenly spaced requests may arrive within PACE_WINDOW.

    A load of fewer requests than a minute allows cannot break the limit of a minute. Two workers
    that do not share their budget send twice as fast, which this limit finds.
    """
    return math.ceil(per_minute * ((PACE_WINDOW + LATE) / MINUTE)) + 1


def coverage_findings(stored: pd.DataFrame, covered: pd.DataFrame) -> list[str]:
    """Compare the sessions that the ledger calls held with the stored bars."""
    merged = stored[KEY].merge(covered.drop_duplicates(KEY), on=KEY, how="outer", indicator="found")
    twice = covered[covered.duplicated(KEY)]
    return [
        f"{len(rows)} sessions {finding}, such as {_sample(rows)}"
        for finding, rows in (
            ("have two states in the ledger", twice),
            ("are held but not in the ledger", merged[merged["found"] == "left_only"]),
            ("are held by the ledger alone", merged[merged["found"] == "right_only"]),
        )
        if len(rows)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFigures:
    """Figures of the ingest log beside those of the tables."""

    inserted: int
    restated: int
    bars: int
    versions: int
    orphans: int


def log_findings(figures: LogFigures) -> list[str]:
    """Report contradictions between the ingest log and the tables."""
    checks = (
        (
            figures.inserted == figures.bars,
            f"the log inserted {figures.inserted} bars, there are {figures.bars}",
        ),
        (
            figures.restated == figures.versions == 0,
            f"{figures.versions} bars were replaced ({figures.restated} by the log): by whom?",
        ),
        (not figures.orphans, f"{figures.orphans} bars came with no answer of the log"),
    )
    return [sentence for right, sentence in checks if not right]


def secret_findings(secrets: Sequence[str], texts: Iterable[str]) -> list[str]:
    """Report texts that hold a key or password."""
    spilt = sum(secret in text for text in texts for secret in secrets)
    return [f"{spilt} texts hold a key or a password"] if spilt else []


def output_findings(command: str, stderr: str) -> list[str]:
    """Report a traceback or an abandoned task in a command's output."""
    for sign in ("Traceback (most recent call last)", "was never retrieved", "was destroyed but"):
        if sign in stderr:
            last = stderr.strip().splitlines()[-1]
            return [f"`wrdata {command}` said “{sign}”: {last}"]
    return []


def _sample(rows: pd.DataFrame) -> str:
    return ", ".join(f"{row.ticker} {row.session_date}" for row in rows.head(SHOWN).itertuples())


def _frame(rows: list[tuple[Any, ...]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _stored(connection: psycopg.Connection) -> pd.DataFrame:
    rows = connection.execute(
        """
        select named.ticker, bar.session_date, bar.open, bar.high, bar.low, bar.close, bar.volume
        from daily_bar as bar
        left join instrument_ticker as named
            on named.instrument_id = bar.instrument_id and upper_inf(named.valid)
        """
    ).fetchall()
    return _frame(rows, [*KEY, *VALUES])


def unsettled_letters(connection: psycopg.Connection) -> tuple[Letter, ...]:
    """Return the dead letters that are open, retrying or parked."""
    rows = connection.execute(
        """
        select
            work::text, subject, state::text, error_class,
            coalesce(
                lower(sessions), (details #>> '{tags,dagster/asset_partition_range_start}')::date
            ),
            coalesce(
                upper(sessions) - 1, (details #>> '{tags,dagster/asset_partition_range_end}')::date
            ),
            coalesce(
                details #> '{ops,curated__equity_prices__daily_bars_refresh,config,symbols}',
                '[]'::jsonb
            )
        from dead_letter
        where state in ('open', 'retrying', 'parked')
        order by letter_id
        """
    ).fetchall()
    names = ("work", "subject", "state", "error_class", "start", "end")
    return tuple(
        Letter(**dict(zip(names, row, strict=True)), tickers=tuple(tickers))
        for *row, tickers in rows
    )


def _covered(connection: psycopg.Connection) -> pd.DataFrame:
    """Return the sessions that the ledger calls held; one with two states comes twice."""
    spans = connection.execute(
        """
        select named.ticker, lower(span), upper(span) - 1
        from coverage
        cross join unnest(coverage.sessions) as span
        join instrument_ticker as named
            on named.instrument_id = coverage.instrument_id and upper_inf(named.valid)
        where coverage.dataset = 'daily_bars'
            and coverage.state in ('complete', 'provisional', 'archived')
        """
    ).fetchall()
    rows = [
        (ticker, session)
        for ticker, first, last in spans
        for session in calendar().sessions(first, last)
    ]
    return _frame(rows, KEY)


def _figures(connection: psycopg.Connection) -> LogFigures:
    row = connection.execute(
        """
        select
            (select coalesce(sum(rows_inserted), 0)::bigint from ingest_log),
            (select coalesce(sum(rows_restated), 0)::bigint from ingest_log),
            (select count(*) from daily_bar),
            (select count(*) from daily_bar_version),
            (
                select count(*) from daily_bar as bar
                where not exists (
                    select from ingest_log as log
                    where log.ingest_id = bar.ingest_id and log.outcome = 'loaded'
                )
            )
        """
    ).fetchone()
    names = ("inserted", "restated", "bars", "versions", "orphans")
    return LogFigures(**dict(zip(names, row or (), strict=True)))


def stored_texts(connection: psycopg.Connection) -> list[str]:
    """Return the database's texts about failures, loads and providers."""
    return [
        text
        for (text,) in connection.execute(
            """
            select to_jsonb(dead_letter)::text from dead_letter
            union all select to_jsonb(ingest_log)::text from ingest_log
            union all select to_jsonb(circuit_breaker)::text from circuit_breaker
            """
        ).fetchall()
    ]


def answers(connection: psycopg.Connection, questions: Mapping[str, LiteralString]) -> list[str]:
    """Run each query and format its rows into its sentence; no rows, no sentence."""
    findings: list[str] = []
    for sentence, question in questions.items():
        rows = [str(row[0]) for row in connection.execute(question).fetchall()]
        if rows:
            findings.append(sentence.format(len(rows), "; ".join(rows[:SHOWN])))
    return findings
