"""Limits: the interval that keeps every pace, and the providers' published limits."""

import itertools
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.recovery.limits import (
    PUBLISHED,
    Pace,
    RequestLimits,
    budget_name,
    fmp_bulk_limits,
    fmp_limits,
)


@st.composite
def any_limits(draw: st.DrawFn) -> RequestLimits:
    """Several paces and weights up to what the smallest of them allows."""
    paces = draw(
        st.lists(
            st.builds(
                Pace,
                limit=st.integers(1, 40),
                window_s=st.floats(0.5, 100.0),
                slack_s=st.floats(0.05, 2.0),
            ),
            min_size=1,
            max_size=3,
        )
    )
    heaviest = draw(st.integers(1, min(pace.limit for pace in paces)))
    return RequestLimits(budget="any", paces=tuple(paces), heaviest=heaviest)


def _heaviest_window(arrivals: Sequence[tuple[float, int]], window_s: float) -> int:
    """Return the most weight in a closed window; the fullest one opens with an arrival."""
    ordered = sorted(arrivals)
    return max(
        sum(
            weight
            for _, weight in itertools.takewhile(
                lambda arrival, opens=opens: arrival[0] <= opens + window_s, ordered[first:]
            )
        )
        for first, (opens, _) in enumerate(ordered)
    )


@given(any_limits(), st.data())
def test_no_closed_window_of_arrivals_holds_more_than_any_pace_allows(
    limits: RequestLimits, data: st.DataObject
) -> None:
    """Whatever the weights, with every request less than the slack late."""
    weights = data.draw(st.lists(st.integers(1, limits.heaviest), min_size=1, max_size=90))
    late = data.draw(st.lists(st.floats(0.0, 0.999), min_size=len(weights), max_size=len(weights)))
    slots = itertools.accumulate(weights[:-1], initial=0)
    arrivals = [
        (units * limits.interval_s + share * limits.slack_s, weight)
        for units, weight, share in zip(slots, weights, late, strict=True)
    ]
    for pace in limits.paces:
        assert _heaviest_window(arrivals, pace.window_s) <= pace.limit


def test_an_interval_one_thousandth_shorter_breaks_the_limit() -> None:
    """The slack is needed: with less, requests late within bounds would be too many."""
    pace = Pace(limit=120, window_s=60.0, slack_s=0.6)
    interval_s = RequestLimits(budget="x", paces=(pace,)).interval_s * 0.999
    arrivals = [(number * interval_s + 0.599 * (number < 60), 1) for number in range(200)]
    assert _heaviest_window(arrivals, pace.window_s) > 120


def test_at_120_a_minute_99_in_100_are_used() -> None:
    """The cost of both edges and of the slack."""
    assert fmp_limits("key", 120).interval_s == pytest.approx(60.6 / 120)


def test_a_limit_below_the_heaviest_request_is_refused() -> None:
    """Such a request could never be sent."""
    with pytest.raises(ValueError, match="heaviest request"):
        RequestLimits(budget="x", paces=(Pace(limit=5, window_s=1.0),), heaviest=6)


def test_limits_need_a_pace() -> None:
    """A quota alone would allow a burst."""
    with pytest.raises(ValueError, match="every pace"):
        RequestLimits(budget="x", paces=())


@pytest.mark.parametrize(
    ("budget", "longest_interval_s"),
    [
        ("fmp", 0.51),  # 120 a minute
        ("fmp bulk", 30.7),  # about two a minute
        ("polygon", 12.2),  # 5 a minute
        ("tiingo", 0.13),  # no pace published, 10 a second by courtesy
        ("binance", 0.0102),  # 6,000 of weight a minute, and 61,000 in five
        ("fred", 0.61),  # 2 a second and 120 a minute
        ("coinbase", 0.13),  # 10 a second
    ],
)
def test_every_provider_s_published_limit_can_be_said(
    budget: str, longest_interval_s: float
) -> None:
    """As data, and without wasting more of it than slack and weights cost."""
    limits = PUBLISHED[budget]
    assert 0.9 * longest_interval_s < limits.interval_s < longest_interval_s


def test_quotas_lie_in_zones_that_exist() -> None:
    """Tiingo counts requests by the hour and by the day, from midnight in New York."""
    for limits in PUBLISHED.values():
        for quota in limits.quotas:
            assert ZoneInfo(quota.zone).key == quota.zone
    assert [quota.period for quota in PUBLISHED["tiingo"].quotas] == ["hour", "day"]
    assert PUBLISHED["tiingo"].quotas[1].zone == "America/New_York"


def test_binance_tells_what_it_has_counted() -> None:
    """Its header is part of the limits."""
    used = PUBLISHED["binance"].used_weight
    assert used is not None
    assert (used.header, used.window_s) == ("x-mbx-used-weight-1m", 60.0)


@pytest.mark.parametrize(
    ("per_minute", "limit", "window_s"),
    [(120.0, 120, 60.0), (2.5, 2, 60.0), (1.0, 1, 60.0), (0.5, 1, 120.0), (3000.0, 3000, 60.0)],
)
def test_a_plan_s_figure_may_be_a_fraction(per_minute: float, limit: int, window_s: float) -> None:
    """Rounded down, and below one a minute as one in a longer time."""
    (pace,) = fmp_limits("key", per_minute).paces
    assert (pace.limit, pace.window_s) == (limit, window_s)


def test_a_bulk_interval_of_nothing_is_allowed() -> None:
    """A simulator without the throttle; requests still keep the slack's distance."""
    assert fmp_bulk_limits("key", 0.0).interval_s > 0


@given(st.text(min_size=8, max_size=40))
def test_a_budget_s_name_tells_keys_apart_and_shows_none(key: str) -> None:
    """Two keys of one provider have two budgets; a process that knows the key finds its own."""
    name = budget_name("fmp", key)
    assert key not in name
    assert name == budget_name("fmp", key) == fmp_limits(key, 120).budget
    assert name != budget_name("fmp", key + "x")
    assert name != fmp_bulk_limits(key, 30.0).budget
