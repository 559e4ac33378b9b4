"""Any sequence of loads: the database equals a dict, and nothing is lost."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.bars import DAY_INTERVALS
from marketdata.calendars import utc_now
from marketdata.coverage import CoverageMark, CoverageState, Span
from resources.storage.aggregates import SourceTable
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.batches import BatchStore
from resources.storage.ledger.coverage import CoverageLedger
from resources.storage.timescale import Timescale
from tests.storage.batches import DATASET, PROVIDER, batch

DAYS = [date(2024, 12, 20) + timedelta(days=offset) for offset in range(20)]
BARS = frozenset({CoverageState.COMPLETE, CoverageState.PROVISIONAL, CoverageState.ARCHIVED})
FINAL = frozenset({CoverageState.COMPLETE, CoverageState.ARCHIVED})
NO_BARS = frozenset({CoverageState.PROVIDER_EMPTY, CoverageState.QUARANTINED})
WRITTEN = [state for state in CoverageState if state is not CoverageState.NOT_LISTED]

Key = tuple[int, date]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One batch to load: closes by place of instrument and day, and marks; refreshed after?"""

    closes: dict[tuple[int, int], float]
    marks: list[tuple[int, CoverageState, int, int]]
    refresh: bool


LOADS = st.lists(
    st.builds(
        Load,
        closes=st.dictionaries(
            st.tuples(st.integers(0, 2), st.integers(0, len(DAYS) - 1)),
            st.sampled_from([10.0, 10.5, 1234.0625]),
            max_size=12,
        ),
        marks=st.lists(
            st.tuples(
                st.integers(0, 2),
                st.sampled_from(WRITTEN),
                st.integers(0, 18),
                st.integers(1, 6),
            ),
            max_size=4,
            # Within a batch the stronger state takes a day; the model needs no such rule.
            unique_by=lambda mark: mark[0],
        ),
        refresh=st.booleans(),
    ),
    max_size=6,
)


@dataclass
class Model:
    """A model of the database."""

    current: dict[Key, float] = field(default_factory=dict)
    replaced: dict[Key, list[float]] = field(default_factory=dict)
    states: dict[Key, CoverageState] = field(default_factory=dict)

    def load(self, closes: dict[Key, float]) -> tuple[int, int, int]:
        """Store closes; return how many were inserted, unchanged and restated."""
        counts = [0, 0, 0]
        for key, close in closes.items():
            if key not in self.current:
                counts[0] += 1
            elif self.current[key] == close:
                counts[1] += 1
            else:
                counts[2] += 1
                self.replaced.setdefault(key, []).append(self.current[key])
            self.current[key] = close
        return counts[0], counts[1], counts[2]

    def mark(self, instrument_id: int, state: CoverageState, days: list[date]) -> None:
        """Apply one mark, day by day."""
        for day in days:
            known = self.states.get((instrument_id, day))
            if state is CoverageState.FAILED and known is not None:
                continue
            if state in NO_BARS and known in BARS:
                continue
            if state is CoverageState.PROVISIONAL and known in FINAL:
                continue
            self.states[instrument_id, day] = state


@pytest.fixture
def emptied(migrated_url: str) -> Iterator[psycopg.Connection]:
    """A connection that can empty the tables between examples."""
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        yield connection


def versions(connection: psycopg.Connection) -> dict[Key, list[tuple[float, datetime, datetime]]]:
    """Return the replaced values of each key, oldest first."""
    by_key: dict[Key, list[tuple[float, datetime, datetime]]] = {}
    for share, day, close, known_from, known_to in connection.execute(
        """select instrument_id, session_date, close, known_from, known_to
           from daily_bar_version order by known_from"""
    ):
        by_key.setdefault((share, day), []).append((close, known_from, known_to))
    return by_key


def ledger_days(
    ledger: dict[int, dict[CoverageState, list[Span]]],
) -> list[tuple[Key, CoverageState]]:
    """Return every day of every state."""
    return [
        ((share, start + timedelta(days=offset)), state)
        for share, states in ledger.items()
        for state, spans in states.items()
        for start, end in spans
        for offset in range((end - start).days)
    ]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(loads=LOADS)
def test_any_sequence_of_loads_equals_a_dict(
    timescale: Timescale,
    instrument_ids: list[int],
    emptied: psycopg.Connection,
    loads: list[Load],
) -> None:
    """Bars, versions, ledger and roll-ups follow the model through every mixture of loads."""
    emptied.execute(
        """truncate daily_bar, daily_bar_version, coverage, ingest_log, daily_bar_invalidation,
           rollup_1w, rollup_1mo, rollup_1q, rollup_1y"""
    )
    bars, rollups, model = BatchStore(timescale), RollUps(timescale), Model()
    # Absences of old answers have expired.
    began_at = utc_now() - timedelta(hours=1)
    for number, load in enumerate(loads):
        closes = {(instrument_ids[i], DAYS[d]): close for (i, d), close in load.closes.items()}
        marks = [
            CoverageMark(
                instrument_id=instrument_ids[i],
                state=state,
                spans=((DAYS[start], DAYS[start] + timedelta(days=length)),),
            )
            for i, state, start, length in load.marks
        ]
        result = bars.load(
            batch(
                [(share, day, close) for (share, day), close in closes.items()],
                coverage=marks,
                fetched_at=began_at + timedelta(minutes=number),
            )
        )
        assert (result.inserted, result.unchanged, result.restated) == model.load(closes)
        for i, state, start, length in load.marks:
            days = [DAYS[start] + timedelta(days=offset) for offset in range(length)]
            model.mark(instrument_ids[i], state, days)
        if load.refresh:
            rollups.refresh(SourceTable.DAYS)

    current = {
        (share, day): (close, known_from)
        for share, day, close, known_from in emptied.execute(
            "select instrument_id, session_date, close, known_from from daily_bar"
        )
    }
    assert {key: close for key, (close, _) in current.items()} == model.current
    kept = versions(emptied)
    assert {
        key: [version[0] for version in values] for key, values in kept.items()
    } == model.replaced
    for key, values in kept.items():
        starts = [version[1] for version in values] + [current[key][1]]
        assert [version[2] for version in values] == starts[1:]
    days = ledger_days(CoverageLedger(timescale).ledger(DATASET, PROVIDER, instrument_ids))
    assert len(days) == len({key for key, _ in days})
    assert dict(days) == model.states
    rollups.refresh(SourceTable.DAYS)
    for interval in DAY_INTERVALS:
        assert rollups.differences(interval) == []
