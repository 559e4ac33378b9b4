"""Which files and which REST windows make the minute bars of some days."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from resources.providers.binance.files import month_published_on
from resources.providers.binance.klines import pieces

ONE_DAY = timedelta(days=1)
DAYS = st.dates(date(2019, 1, 1), date(2027, 12, 31))


@given(DAYS, st.integers(0, 120), DAYS)
def test_pieces_cover_each_day_once_and_ask_for_no_file_that_cannot_be(
    start: date, days: int, today: date
) -> None:
    """In their order; today's day has no file, and a month only after its first Monday."""
    end = min(start + days * ONE_DAY, today)
    covered: list[date] = []
    for piece in pieces("BTCUSDT", start, end, today):
        covered += [
            piece.first + offset * ONE_DAY for offset in range((piece.last - piece.first).days + 1)
        ]
        begins, after = (moment.date() for moment in piece.file_holds)
        assert begins <= piece.first <= piece.last < after
        if piece.path is None:
            assert piece.last == today
        else:
            assert piece.last < today
            assert (after == begins + ONE_DAY) == (piece.way == "day")
        if piece.way == "month":
            assert month_published_on(piece.first) < today
            assert piece.last > piece.first
    expected = [start + offset * ONE_DAY for offset in range((end - start).days + 1)]
    assert covered == expected


def test_ten_years_are_a_file_a_month() -> None:
    """And a single day of a month is a day's file."""
    plan = list(pieces("BTCUSDT", date(2017, 1, 31), date(2026, 10, 31), date(2026, 11, 21)))
    assert [piece.way for piece in plan] == ["day"] + ["month"] * 117
