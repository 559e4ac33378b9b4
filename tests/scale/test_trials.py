"""What a trial of scale-out finds wrong: windows over a budget."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scale.trials import TRIALS, windows_over

BEGAN = datetime(2026, 12, 1, tzinfo=UTC)


def at(*seconds: float) -> list[datetime]:
    """Return moments so many seconds after the beginning."""
    return [BEGAN + timedelta(seconds=second) for second in seconds]


def test_a_window_holds_what_arrives_within_a_minute_of_its_first_request() -> None:
    """Sixty seconds later is another window."""
    assert windows_over(at(0, 30, 59.9), limit=2) == 1
    assert windows_over(at(0, 30, 60), limit=2) == 0
    assert windows_over([], limit=0) == 0


@given(st.lists(st.floats(0, 300), max_size=40), st.integers(1, 10))
def test_windows_are_counted_as_by_looking_at_each(seconds: list[float], limit: int) -> None:
    """Whatever the order of arrival."""
    arrivals = at(*seconds)
    minute = timedelta(seconds=60)
    slowly = sum(
        sum(first <= other < first + minute for other in arrivals[:]) > limit
        for first in sorted(arrivals)
    )

    # Of requests at one moment only the first begins a window that holds all of them.
    assert (windows_over(arrivals, limit) > 0) == (slowly > 0)


def test_every_demand_has_its_trial() -> None:
    """More workers, and each thing that goes wrong."""
    assert set(TRIALS) == {"1", "2", "4", "kill", "redis", "cancel", "daemons"}
