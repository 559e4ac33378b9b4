"""The sliding window holds for every window, not only for those that begin on a minute."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sandbox.simulators.limits import SlidingWindow

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.lists(st.floats(0, 300, allow_nan=False), max_size=120).map(sorted), st.integers(1, 10))
def test_no_window_holds_more_than_the_limit_and_none_is_refused_needlessly(
    seconds: list[float], limit: int
) -> None:
    """A request is refused exactly if its own window is full."""
    window = SlidingWindow(limit=limit)
    admitted: list[datetime] = []
    for offset in seconds:
        at = BEGIN + timedelta(seconds=offset)
        recent = [arrival for arrival in admitted if arrival > at - timedelta(seconds=60)]
        assert window.admits("key", at) == (len(recent) < limit)
        if len(recent) < limit:
            admitted.append(at)


def test_each_key_has_a_window_of_its_own() -> None:
    """One key's flood does not touch another's budget."""
    window = SlidingWindow(limit=1)
    assert window.admits("a", BEGIN)
    assert not window.admits("a", BEGIN)
    assert window.admits("b", BEGIN)
