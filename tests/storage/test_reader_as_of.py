"""Adjusted prices as of a moment equal those read then, whatever was loaded since."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from marketdata.bars import Adjustment
from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from resources.settings import StoreSettings
from resources.storage.adjusted_bars import AdjustedBars
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.batches import BatchStore
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.fixtures.world import BucketSettings
from tests.storage.archive.moves import Moves, load, refresh
from tests.storage.batches import NOTHING_ASKED, batch
from wrdata import read_bars

# These rows have no ledger; warnings about that are tested in test_missing_bars.py.
pytestmark = pytest.mark.filterwarnings("ignore::wrdata.MissingBarsWarning")

SPLIT_ON = date(2024, 1, 4)
PAID_ON = date(2024, 1, 8)
SESSIONS = [date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9)]
AS_PAID = (100.0, 102.0, 51.0, 52.0, 50.0, 50.5)
"""Prices of these sessions around a split of two for one."""

Actions = Mapping[date, str]
"""New shares for an old one, or an amount, by ex-date."""


@pytest.fixture
def where(migrated_url: str, bucket: BucketSettings) -> StoreSettings:
    """Where this test's data are."""
    return StoreSettings(
        database_url=SecretStr(migrated_url),
        s3_endpoint=bucket.endpoint,
        archive_bucket=bucket.bucket,
        s3_region=bucket.region,
        s3_access_key=SecretStr(bucket.access_key),
        s3_secret_key=SecretStr(bucket.secret_key),
    )


@pytest.fixture
def moves(timescale: Timescale, object_store: ObjectStore) -> Moves:
    """What archives and drops here."""
    return Moves(timescale=timescale, store=object_store, aggregates=RollUps(timescale))


@dataclass(frozen=True)
class Market:
    """One instrument about which facts become known one by one.

    Each of them comes by the real loader, and its factors are derived at once.
    """

    moves: Moves
    where: StoreSettings
    instrument_id: int

    def learn_bars(
        self, closes: Mapping[date, float], adjustment: Adjustment = Adjustment.AS_TRADED
    ) -> None:
        """Load daily bars; open and close lie one apart."""
        rows = [(self.instrument_id, day, close) for day, close in closes.items()]
        now = datetime.now(UTC)
        self._load(batch(rows, adjustment=adjustment, fetched_at=now))

    def learn_splits(self, splits: Actions) -> None:
        """Load all splits: missing ones are withdrawn."""
        rows = [
            {"ex_date": day, "new_shares": Decimal(new), "old_shares": Decimal(1)}
            for day, new in splits.items()
        ]
        self._learn("splits", rows)

    def learn_dividends(self, dividends: Actions, currency: str | None = None) -> None:
        """Load all dividends there are."""
        rows = [
            {
                "ex_date": day,
                "kind": "regular",
                "ordinal": 1,
                "amount": Decimal(amount),
                "currency": currency,
            }
            for day, amount in dividends.items()
        ]
        self._learn("dividends", rows)

    def learn_rates(self, series: str, rates: Mapping[date, str], published: date) -> None:
        """Load exchange rates with their vintage."""
        timescale = self.moves.timescale
        ids = InstrumentStore(timescale).register("series", {series: series}, date(2020, 1, 2))
        rows = [
            {
                "instrument_id": ids[series],
                "observed_on": day,
                "realtime_start": published,
                "realtime_end": date(9999, 12, 31),
                "value": Decimal(value),
            }
            for day, value in rates.items()
        ]
        stored = DATASETS["macro_observations"].table_schema
        given = batch([], fetched_at=datetime.now(UTC), provider="fred")
        table = pa.Table.from_pylist(rows, schema=stored)
        self._load(replace(given, dataset="macro_observations", adjustment=None, rows=table))

    def confirm(self, ex_date: date) -> None:
        """Let a person vouch for a split."""
        AdjustedBars(self.moves.timescale).confirm(
            self.instrument_id, ex_date, by="ada", reason="letter of the company"
        )
        self.derive()

    def derive(self) -> None:
        """Check splits, and derive factors."""
        AdjustedBars(self.moves.timescale).derive(self.instrument_id)

    def drop(self) -> None:
        """Archive the year and drop it from the database."""
        archived = self.moves.prove("daily_bars", "2024")
        outcome = self.moves.retention.drop(archived, "2024", by="test")
        assert outcome.status == "dropped", outcome

    def read(
        self, interval: str = "1d", adjusted: str | None = "splits", at: datetime | None = None
    ) -> pa.Table:
        """Return bars of all times, as of a moment or now."""
        return read_bars("AAA", None, "2030-01-01", interval, adjusted, at, settings=self.where)

    def closes(self, adjusted: str = "splits", at: datetime | None = None) -> list[float]:
        """Return the closes, rounded."""
        return [round(price, 4) for price in self.read("1d", adjusted, at)["close"].to_pylist()]

    def _learn(self, dataset: str, rows: list[dict[str, Any]]) -> None:
        stored = DATASETS[dataset].table_schema
        defaults = dict.fromkeys(stored.names) | {"instrument_id": self.instrument_id}
        table = pa.Table.from_pylist([defaults | row for row in rows], schema=stored)
        asked = replace(NOTHING_ASKED, instrument_ids=(self.instrument_id,))
        answer = batch([], fetched_at=datetime.now(UTC), asked=asked)
        self._load(
            replace(answer, dataset=dataset, adjustment=None, full_snapshot=True, rows=table)
        )

    def _load(self, given_batch: Any) -> None:
        BatchStore(self.moves.timescale).load(given_batch)
        self.derive()


@pytest.fixture
def market(moves: Moves, where: StoreSettings, instrument_ids: list[int]) -> Market:
    """AAA, without any facts yet."""
    return Market(moves, where, instrument_ids[0])


def now() -> datetime:
    """Return this moment."""
    return datetime.now(UTC)


def as_paid() -> dict[date, float]:
    """Return the closes by session."""
    return dict(zip(SESSIONS, AS_PAID, strict=True))


def test_what_is_learnt_later_adjusts_nothing_before(market: Market) -> None:
    """A split announced later, a dividend and a close restated later, a split withdrawn later."""
    market.learn_bars(as_paid())
    raw = now()
    market.learn_splits({SPLIT_ON: "2"})
    split = now()
    market.learn_dividends({PAID_ON: "5.2"})
    paid = now()
    market.learn_dividends({PAID_ON: "2.6"})
    less = now()
    market.learn_bars({date(2024, 1, 5): 65.0})
    restated = now()
    market.learn_splits({date(2025, 6, 2): "3"})
    withdrawn = now()

    both = "splits_and_dividends"
    assert market.closes(both, raw) == [100, 102, 51, 52, 50, 50.5]
    assert market.closes(both, split) == [50, 51, 51, 52, 50, 50.5]
    assert market.closes(both, paid) == [45, 45.9, 45.9, 46.8, 50, 50.5]
    assert market.closes(both, less) == [47.5, 48.45, 48.45, 49.4, 50, 50.5]
    assert market.closes(both, restated) == [48, 48.96, 48.96, 62.4, 50, 50.5]
    assert market.closes(both, withdrawn) == [96, 97.92, 48.96, 62.4, 50, 50.5]
    assert market.closes(both, now()) == market.closes(both)
    assert market.closes("splits", less) == market.closes("splits", split)
    assert market.closes(both, raw - timedelta(days=1)) == []


def test_a_dividend_is_converted_by_the_rate_that_was_known_then(market: Market) -> None:
    """Not by one that was loaded, revised or confirmed later."""
    both, share = "splits_and_dividends", market.instrument_id
    market.learn_bars(dict.fromkeys(SESSIONS, 100.0))
    market.learn_dividends({PAID_ON: "26"}, "CAD")
    waiting = now()
    before = PAID_ON - timedelta(days=1)
    market.learn_rates("DEXCAUS", {before: "1.3", PAID_ON: "9"}, before)
    converted = now()
    market.learn_rates("DEXCAUS", {before: "2.6"}, before)
    revised = now()
    [noted] = AdjustedBars(market.moves.timescale).dividends()
    AdjustedBars(market.moves.timescale).confirm_dividend(
        share, noted.finding.dividend, Decimal(50), by="ada", reason="the company's letter"
    )
    market.derive()
    moment = now()

    last = [100.0] * (len(SESSIONS) - SESSIONS.index(PAID_ON))
    first = len(SESSIONS) - len(last)
    assert market.closes(both, waiting) == [100.0] * len(SESSIONS)
    assert market.closes(both, converted) == [80.0] * first + last
    assert market.closes(both, revised) == [90.0] * first + last
    assert market.closes(both, moment) == market.closes(both) == [50.0] * first + last


def test_a_spin_off_counts_from_when_a_person_told_it(market: Market) -> None:
    """With the split that it hid: a reverse split of 1:2 whose prices did not double."""
    both, store = "splits_and_dividends", AdjustedBars(market.moves.timescale)
    prices = {day: 100.0 if day < SPLIT_ON else 120.0 for day in SESSIONS}
    market.learn_bars(prices)
    market.learn_splits({SPLIT_ON: "0.5"})
    hidden = now()
    store.record_spin_off(
        market.instrument_id, SPLIT_ON, "NEWCO", Decimal(80), by="ada", reason="form 10"
    )
    market.derive()
    moment = now()
    store.record_spin_off(
        market.instrument_id, SPLIT_ON, "NEWCO", Decimal(0), by="ada", reason="a slip"
    )
    market.derive()

    first = SESSIONS.index(SPLIT_ON)
    last = [120.0] * (len(SESSIONS) - first)
    assert market.closes(both, hidden) == market.closes(both) == [100.0] * first + last
    assert market.closes("splits", moment) == [200.0] * first + last
    assert market.closes(both, moment) == [120.0] * first + last


def test_a_persons_word_counts_from_when_it_was_given(market: Market) -> None:
    """Until then a refuted split adjusts nothing; a second confirmation changes nothing."""
    market.learn_bars(dict.fromkeys(SESSIONS, 100.0))
    market.learn_splits({SPLIT_ON: "2"})
    refuted = now()
    market.confirm(SPLIT_ON)
    confirmed = now()
    market.confirm(SPLIT_ON)

    assert market.closes(at=refuted) == [100.0] * 6
    assert market.closes(at=confirmed) == market.closes() == [50.0, 50.0] + [100.0] * 4


def test_a_check_that_was_written_over_is_missed_in_one_line(market: Market) -> None:
    """Bars on one side of a split prove nothing, and the verdict of then is gone."""
    market.learn_bars({day: close for day, close in as_paid().items() if day >= SPLIT_ON})
    market.learn_splits({SPLIT_ON: "2"})
    unproven = now()
    market.learn_bars(as_paid())
    proven = now()
    assert market.closes(at=unproven) == [51, 52, 50, 50.5]
    assert market.read(adjusted=None, at=unproven).num_rows == 4
    assert market.closes(at=proven) == market.closes()


def test_every_interval_is_that_of_then_to_the_last_bit(market: Market) -> None:
    """Days, minutes and their aggregates."""
    prices = as_paid() | {SESSIONS[0]: 150.0, SESSIONS[1]: 153.0}
    minutes = {
        (
            market.instrument_id,
            datetime(day.year, day.month, day.day, 15, number, tzinfo=UTC),
        ): close + number / 7
        for day, close in prices.items()
        for number in range(12)
    }
    load(market.moves.timescale, "minute_bars", minutes)
    refresh(market.moves.aggregates)
    market.learn_bars(prices)
    market.learn_splits({SPLIT_ON: "3"})
    market.learn_dividends({PAID_ON: "0.37"})
    requests = [
        (interval, adjusted)
        for interval in ("1m", "5m", "15m", "1h", "1d", "1w", "1mo", "1q", "1y")
        for adjusted in ("splits", "splits_and_dividends")
    ]
    then = {request: market.read(*request) for request in requests}
    moment = now()
    market.learn_dividends({PAID_ON: "1", date(2024, 1, 5): "2"})
    market.learn_splits({SPLIT_ON: "4"})
    market.learn_bars({day: close + 1 for day, close in prices.items()})
    restated = {key: price + 1 for key, price in minutes.items()}
    load(market.moves.timescale, "minute_bars", restated, fetched_at=now())
    refresh(market.moves.aggregates)
    market.drop()

    assert {request: market.read(*request, moment) for request in requests} == then
    assert all(bars.num_rows for bars in then.values())


def test_minutes_of_a_share_without_a_day_have_no_factors(market: Market) -> None:
    """Then as now: the message says what is missing."""
    opened_at = datetime(2024, 1, 2, 15, tzinfo=UTC)
    load(market.moves.timescale, "minute_bars", {(market.instrument_id, opened_at): 10.0})
    with pytest.raises(errors.StorageConflictError, match="no daily bar of AAA was known then"):
        market.read("1m", at=now())


def test_only_the_days_that_are_asked_for_come(market: Market) -> None:
    """Though factors are made of all of them, later ones included."""
    market.learn_bars(as_paid())
    market.learn_splits({SPLIT_ON: "2"})
    bars = read_bars(
        "AAA", "2024-01-03", "2024-01-03", adjusted="splits", as_of=now(), settings=market.where
    )
    assert bars.select(["bucket_start", "close"]).to_pylist() == [
        {"bucket_start": date(2024, 1, 3), "close": 51.0}
    ]


TODAY = datetime.now(UTC).date()
LATELY = [TODAY + timedelta(days=offset) for offset in range(-2, 3)]
"""Prices that a provider adjusts are in the shares of the day on which they come: today."""
days = st.sampled_from([*SESSIONS, *LATELY])
levels = st.sampled_from([100.0, 99.0, 52.0, 50.0])
closes = st.dictionaries(days, levels, min_size=1)
steps = st.one_of(
    st.tuples(st.just("bars"), closes, st.sampled_from([Adjustment.AS_TRADED, Adjustment.SPLITS])),
    st.tuples(st.just("splits"), st.dictionaries(days, st.sampled_from(["2", "0.5"]), min_size=1)),
    st.tuples(
        st.just("dividends"),
        st.dictionaries(days, st.sampled_from(["0.3", "7", "60"]), min_size=1),
    ),
    st.tuples(st.just("confirm")),
)


def forget(moves: Moves) -> None:
    """Delete everything that examples of a property store."""
    for stored in list(moves.store.list("iceberg/")):
        moves.store.delete(stored.key)
    with moves.timescale.connection() as connection:
        connection.execute("truncate archive_tombstone, archive_log")
        connection.execute("delete from iceberg_catalog.iceberg_tables")
        connection.execute("delete from daily_bar")
        connection.execute("truncate daily_bar_version, split, split_version, split_check")
        connection.execute("truncate dividend, dividend_version, price_factor")
        # What was dropped has left its aggregates behind.
        connection.execute("truncate rollup_1w, rollup_1mo, rollup_1q, rollup_1y")


def take(market: Market, step: tuple[Any, ...]) -> None:
    """Load the facts of a step."""
    match step:
        case ("bars", prices, adjustment):
            market.learn_bars(prices, adjustment)
        case ("splits", splits):
            market.learn_splits(splits)
        case ("dividends", dividends):
            market.learn_dividends(dividends)
        case _:
            for finding in AdjustedBars(market.moves.timescale).quarantined()[:1]:
                market.confirm(finding.finding.split.ex_date)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=closes, learnt=st.lists(steps, min_size=2, max_size=7), dropped=st.booleans())
def test_adjusted_prices_as_of_a_moment_are_those_that_were_read_then(
    market: Market, first: dict[date, float], learnt: list[tuple[Any, ...]], *, dropped: bool
) -> None:
    """After any bars, restatements, splits, dividends and confirmations, hot and cold."""
    forget(market.moves)
    states: list[tuple[datetime, dict[str, pa.Table]]] = []
    for step in [("bars", first, Adjustment.AS_TRADED), *learnt]:
        try:
            take(market, step)
        except errors.StorageConflictError as error:
            if "the answer has" not in str(error):  # It lacks most of the rows that are stored.
                raise
            event("an answer that lacks too much")
        read = {
            interval: market.read(interval, "splits_and_dividends") for interval in ("1d", "1w")
        }
        states.append((now(), read))
    if dropped and min(states[-1][1]["1d"]["bucket_start"].to_pylist()) < LATELY[0]:
        market.drop()
        event("dropped")

    for moment, read in states:
        then = {
            interval: market.read(interval, "splits_and_dividends", moment) for interval in read
        }
        assert then == read
        event("as it was")
