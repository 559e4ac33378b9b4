"""Leases on a real server: slots, quotas, lanes, the breaker, and concurrency."""

import asyncio
import itertools
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from marketdata.recovery import errors
from marketdata.recovery.leases import (
    BreakerState,
    Holder,
    Lease,
    LeaseRequest,
    Refusal,
    RefusalReason,
)
from marketdata.recovery.limits import Lane, Pace, Quota, QuotaPeriod, RequestLimits, UsedWeight
from marketdata.recovery.policy import BREAKER, BreakerPolicy
from resources.providers.leased_budget import LeasedBudget
from resources.storage.request_leases import RequestLeases
from resources.storage.timescale import Timescale

HORIZON_S = 1.5
AHEAD_S = 6.5
NEVER = errors.ProviderUnavailableError("HTTP 503", provider="p", operation="o")


BEFORE_THE_HOUR_S = 10.0


def limits(
    budget: str = "key",
    *,
    interval_s: float = 0.5,
    slack_s: float = 0.1,
    quotas: tuple[Quota, ...] = (),
    heaviest: int = 1,
    used_weight: UsedWeight | None = None,
) -> RequestLimits:
    """Return limits whose interval is the given one."""
    pace = Pace(limit=heaviest, window_s=interval_s - slack_s, slack_s=slack_s)
    return RequestLimits(
        budget=budget, paces=(pace,), quotas=quotas, heaviest=heaviest, used_weight=used_weight
    )


def lease_request(
    permits: int | Sequence[int] = 1,
    *charges: RequestLimits,
    lane: Lane = Lane.BACKFILL,
    breaker: BreakerPolicy = BREAKER,
    horizon_s: float | None = None,
) -> LeaseRequest:
    """Return a lease request for a number of permits, or for permits of given weights."""
    reach = HORIZON_S if lane is Lane.BACKFILL else AHEAD_S
    return LeaseRequest(
        provider="p",
        charges=charges or (limits(),),
        weights=(1,) * permits if isinstance(permits, int) else tuple(permits),
        lane=lane,
        holder=Holder(host="here", pid=1, run_id="run"),
        horizon_s=reach if horizon_s is None else horizon_s,
        tolerance_s=0.1,
        breaker=breaker,
    )


def granted(answer: Lease | Refusal) -> Lease:
    """Return the answer, which must be a lease."""
    assert isinstance(answer, Lease), answer
    return answer


def refused(answer: Lease | Refusal, reason: RefusalReason = RefusalReason.LATER) -> Refusal:
    """Return the answer, which must be a refusal."""
    assert isinstance(answer, Refusal), answer
    assert answer.reason is reason
    return answer


@pytest.fixture
def leases(timescale: Timescale) -> Iterator[RequestLeases]:
    """A store of leases on a fresh database, not just before a full hour: no lease crosses one."""
    if (left_s := 3600 - time.time() % 3600) < BEFORE_THE_HOUR_S:
        time.sleep(left_s)
    with RequestLeases(timescale) as opened:
        yield opened


def test_a_lease_holds_evenly_spaced_slots_below_the_horizon(leases: RequestLeases) -> None:
    """The first at once; of ten only as many as begin within 1.5 s."""
    lease = granted(leases.take(lease_request(10)))
    assert lease.slots_s == pytest.approx((0.0, 0.5, 1.0, 1.5), abs=1e-5)
    assert not lease.trial
    assert lease.failures == 0


def test_who_asks_next_comes_behind(leases: RequestLeases) -> None:
    """Both leases together are as evenly spaced as one."""
    first = granted(leases.take(lease_request(2)))
    began = time.monotonic()
    second = granted(leases.take(lease_request(1)))
    assert first.slots_s == pytest.approx((0.0, 0.5), abs=1e-5)
    assert second.slots_s[0] == pytest.approx(1.0 - (time.monotonic() - began), abs=0.1)


def test_a_full_horizon_says_when_to_ask_again(leases: RequestLeases) -> None:
    """Asking then brings a permit."""
    leases.take(lease_request(10))
    refusal = refused(leases.take(lease_request(1)))
    assert 0.4 < refusal.retry_after_s <= 0.75
    time.sleep(refusal.retry_after_s)
    granted(leases.take(lease_request(1)))


def test_a_heavy_request_is_followed_by_as_many_intervals_as_it_weighs(
    leases: RequestLeases,
) -> None:
    """Weights 3, 1 and 2 at 0.2 s: slots at 0, 0.6, 0.8, and the next free one at 1.2."""
    weighty = RequestLimits(
        budget="key", paces=(Pace(limit=12, window_s=1.9, slack_s=0.1),), heaviest=3
    )
    assert weighty.interval_s == pytest.approx(0.2)
    lease = granted(leases.take(lease_request([3, 1, 2], weighty)))
    assert lease.slots_s == pytest.approx((0.0, 0.6, 0.8), abs=1e-5)
    (status,) = leases.status()
    assert status.reserved_s == pytest.approx(1.2, abs=0.1)
    assert status.this_hour == 3


def test_no_two_processes_are_granted_the_same_time(timescale: Timescale) -> None:
    """Eight at once; the database's own record shows one sequence without overlaps."""
    narrow = RequestLimits(budget="key", paces=(Pace(limit=100, window_s=1.9, slack_s=0.1),))

    def take_some(number: int) -> int:
        taken = 0
        with RequestLeases(timescale) as own:
            while taken < 25:
                answer = own.take(lease_request(1 + number % 4, narrow))
                if isinstance(answer, Lease):
                    taken += len(answer.slots_s)
                else:
                    time.sleep(answer.retry_after_s)
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = sum(threads.map(take_some, range(8)))
    slots = recorded_slots(timescale)
    assert len(slots) == taken
    gaps = [after - before for before, after in itertools.pairwise(slots)]
    assert min(gaps) >= timedelta(seconds=narrow.interval_s, microseconds=-2)


def recorded_slots(timescale: Timescale) -> list[datetime]:
    """Return all slots of all leases, in order."""
    with timescale.connection() as connection:
        rows = connection.execute(
            "select slot from request_lease, unnest(slots) as slot order by slot"
        ).fetchall()
    return [row[0] for row in rows]


def test_two_charged_together_never_deadlock_with_the_same_in_the_other_order(
    timescale: Timescale,
) -> None:
    """Budgets are locked by name, whatever their order in the request."""
    first, other = (limits(name, interval_s=0.102) for name in ("a", "b"))

    def take_some(charges: tuple[RequestLimits, ...]) -> int:
        with RequestLeases(timescale) as own:
            return sum(isinstance(own.take(lease_request(1, *charges)), Lease) for _ in range(60))

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(take_some, [(first, other), (other, first)] * 2))
    assert sum(taken) >= 10


def test_a_scheduled_run_reserves_where_a_backfill_may_not(leases: RequestLeases) -> None:
    """Once the clock's run has queued, backfills find the horizon taken."""
    leases.take(lease_request(10))
    scheduled = granted(leases.take(lease_request(8, lane=Lane.SCHEDULED)))
    assert len(scheduled.slots_s) == 8
    assert refused(leases.take(lease_request(1))).retry_after_s > 3.0


def test_while_a_scheduled_run_is_at_work_backfills_hardly_reserve_ahead(
    leases: RequestLeases,
) -> None:
    """They use what scheduled work leaves, one interval ahead, so it waits no longer."""
    leases.take(lease_request(1, lane=Lane.SCHEDULED))
    backfill = granted(leases.take(lease_request(10)))
    assert len(backfill.slots_s) == 1
    scheduled = granted(leases.take(lease_request(1, lane=Lane.SCHEDULED)))
    assert scheduled.slots_s[0] <= 1.0


def test_a_scheduled_run_waits_at_most_the_horizon_behind_backfills(
    leases: RequestLeases,
) -> None:
    """However many backfills ask first."""
    for _ in range(5):
        leases.take(lease_request(10))
    scheduled = granted(leases.take(lease_request(1, lane=Lane.SCHEDULED)))
    assert scheduled.slots_s[0] <= HORIZON_S + 0.5


def test_what_is_charged_twice_advances_both_budgets(leases: RequestLeases) -> None:
    """A bulk request takes one of the key's slots; the next bulk waits for its own interval."""
    key, bulk = limits("key"), limits("bulk", interval_s=30.0)
    lease = granted(leases.take(lease_request(5, bulk, key)))
    assert len(lease.slots_s) == 1
    reserved = {budget.budget: budget.reserved_s for budget in leases.status()}
    assert reserved["key"] == pytest.approx(0.5, abs=0.1)
    assert reserved["bulk"] == pytest.approx(30.0, abs=0.1)


def test_a_bulk_request_that_has_to_wait_leaves_the_key_s_slots_to_others(
    leases: RequestLeases,
) -> None:
    """A reservation half a minute ahead would idle all slots before it."""
    key, bulk = limits("key"), limits("bulk", interval_s=30.0)
    leases.take(lease_request(1, bulk, key))
    refusal = refused(leases.take(lease_request(1, bulk, key, lane=Lane.SCHEDULED)))
    assert 20.0 < refusal.retry_after_s < 30.0
    assert granted(leases.take(lease_request(1, key))).slots_s[0] < 0.6


def test_a_bulk_request_queues_behind_a_busy_key(leases: RequestLeases) -> None:
    """Its own budget is free, the key's next slot is a second away."""
    key, bulk = limits("key"), limits("bulk", interval_s=30.0)
    leases.take(lease_request(3, key))
    lease = granted(leases.take(lease_request(1, bulk, key)))
    assert lease.slots_s[0] == pytest.approx(1.5, abs=0.2)


def test_an_unused_tail_is_free_again(leases: RequestLeases) -> None:
    """A process that ends returns its last permits to the next one, and usage shrinks."""
    lease = granted(leases.take(lease_request(4)))
    leases.give_back(lease.lease_id, [2, 3])
    (status,) = leases.status()
    assert status.this_hour == 2
    assert status.reserved_s == pytest.approx(1.0, abs=0.1)
    assert status.leases == {Lane.SCHEDULED: 0, Lane.BACKFILL: 0}


def test_a_tail_that_someone_queues_behind_is_not_given_twice(leases: RequestLeases) -> None:
    """Only usage shrinks: the freed slots lie before the other's."""
    first = granted(leases.take(lease_request(2)))
    leases.take(lease_request(1))
    leases.give_back(first.lease_id, [1])
    (status,) = leases.status()
    assert status.this_hour == 2
    assert status.reserved_s == pytest.approx(1.5, abs=0.1)


def test_a_permit_that_was_given_back_is_no_request_of_the_last_minute(
    leases: RequestLeases,
) -> None:
    """Its slot has come, and nothing was sent on it."""
    slow = limits(interval_s=600.0)
    lease = granted(leases.take(lease_request(1, slow)))
    (status,) = leases.status()
    assert status.last_minute == 1
    leases.give_back(lease.lease_id, [0])
    (status,) = leases.status()
    assert (status.last_minute, status.this_hour) == (0, 0)


def test_a_permit_given_back_from_the_middle_is_only_counted(leases: RequestLeases) -> None:
    """The permits behind it are still used."""
    lease = granted(leases.take(lease_request(3)))
    leases.give_back(lease.lease_id, [1])
    (status,) = leases.status()
    assert status.this_hour == 2
    assert status.reserved_s == pytest.approx(1.5, abs=0.1)
    assert status.leases[Lane.BACKFILL] == 1


def test_leases_expire_by_time_and_are_cleared_away_by_later_ones(
    leases: RequestLeases, timescale: Timescale
) -> None:
    """A dead holder's row is live until its last slot is past, and gone ten minutes later."""
    lease = granted(leases.take(lease_request(1)))
    assert leases.status()[0].leases[Lane.BACKFILL] == 1
    time.sleep(0.15)
    assert leases.status()[0].leases[Lane.BACKFILL] == 0
    with timescale.connection() as connection:
        connection.execute("update request_lease set expires_at = now() - interval '11 minutes'")
    later = granted(leases.take(lease_request(1)))
    with timescale.connection() as connection:
        rows = connection.execute("select lease_id from request_lease").fetchall()
    assert rows == [(later.lease_id,)]
    assert later.lease_id != lease.lease_id


def test_a_pause_holds_everyone(leases: RequestLeases, timescale: Timescale) -> None:
    """After a 429 no process reserves before the provider's time; a shorter one adds nothing."""
    leases.take(lease_request(1))
    leases.pause(["key"], 20.0, "HTTP 429")
    leases.pause(["key"], 5.0, "HTTP 429")
    with RequestLeases(timescale) as other:
        refusal = refused(other.take(lease_request(1)))
    assert 18.0 < refusal.retry_after_s < 19.0
    (status,) = leases.status()
    assert status.paused_until is not None
    assert status.reserved_s == pytest.approx(20.0, abs=0.5)


def test_a_pause_that_no_run_waits_for_is_refused_with_its_end_and_its_reason(
    leases: RequestLeases, timescale: Timescale
) -> None:
    """A ban of an hour, whichever key got it; a later, shorter one changes nothing."""
    leases.take(lease_request(1))
    leases.pause(["key"], 3600.0, "HTTP 418: banned")
    leases.pause(["key"], 2.0, "HTTP 429")
    with RequestLeases(timescale) as other:
        refusal = refused(other.take(lease_request(1)), RefusalReason.PAUSED)
        elsewhere = granted(other.take(lease_request(1, limits("another"))))
    assert 3590.0 < refusal.retry_after_s <= 3600.0
    assert re.fullmatch(
        r"the provider asks to be left alone until \d{4}-\d\d-\d\d \d\d:\d\d UTC: "
        "HTTP 418: banned",
        refusal.detail,
    )
    assert elsewhere.slots_s, "each key has its own"


def test_giving_back_does_not_end_a_pause(leases: RequestLeases) -> None:
    """A refused process returns its permits, and they still begin after the pause."""
    lease = granted(leases.take(lease_request(8, lane=Lane.SCHEDULED)))
    leases.pause(["key"], 2.0, "HTTP 429")
    leases.give_back(lease.lease_id, range(1, 8))
    again = granted(leases.take(lease_request(1, lane=Lane.SCHEDULED)))
    assert 1.8 < again.slots_s[0] <= 2.0


def test_what_the_provider_has_counted_beyond_us_holds_everyone(leases: RequestLeases) -> None:
    """3,000 of 6,000 used: nothing before the middle of the provider's window."""
    provider = limits(interval_s=0.101, used_weight=UsedWeight(header="used", window_s=3600.0))
    leases.take(lease_request(1, provider))
    leases.observe_used(provider, 3600 / 0.101)
    (status,) = leases.status()
    now = datetime.now(UTC)
    into_hour = (now - now.replace(minute=0, second=0, microsecond=0)).total_seconds()
    assert status.reserved_s == pytest.approx(3600 - into_hour, abs=2.0)
    before = status.next_at
    leases.observe_used(provider, 1)
    assert leases.status()[0].next_at == before, "less than we know of changes nothing"


def test_a_spent_quota_grants_nothing_and_says_until_when(leases: RequestLeases) -> None:
    """Five permits of a day's three; then none until midnight in New York."""
    zone = "America/New_York"
    daily = limits(interval_s=0.11, quotas=(Quota(limit=3, period=QuotaPeriod.DAY, zone=zone),))
    assert len(granted(leases.take(lease_request(5, daily))).slots_s) == 3
    refusal = refused(leases.take(lease_request(1, daily)), RefusalReason.QUOTA_SPENT)
    now = datetime.now(ZoneInfo(zone))
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    left_s = (midnight.astimezone(UTC) - now.astimezone(UTC)).total_seconds()
    assert refusal.retry_after_s == pytest.approx(left_s, abs=5.0)
    assert "3 a day (America/New_York) of budget key" in refusal.detail
    (use,) = leases.quota_use(daily)
    assert use.used == 3
    assert use.resets_at == midnight


@pytest.mark.parametrize(
    ("period", "hours_ago", "counts"),
    [
        (QuotaPeriod.HOUR, 0, True),
        (QuotaPeriod.HOUR, 1, False),
        (QuotaPeriod.DAY, 24, False),
        (QuotaPeriod.MONTH, 24 * 32, False),
    ],
)
def test_a_quota_begins_anew_with_its_period(
    leases: RequestLeases, timescale: Timescale, period: QuotaPeriod, hours_ago: int, counts: bool
) -> None:
    """What was used in an earlier period does not count in this one."""
    with timescale.connection() as connection:
        connection.execute(
            "insert into request_usage values"
            " ('key', date_trunc('hour', now()) - make_interval(hours => %s), 'backfill', 1, 1)",
            (hours_ago,),
        )
    once = limits(quotas=(Quota(limit=1, period=period),))
    answer = leases.take(lease_request(1, once))
    assert isinstance(answer, Refusal) is counts


def test_several_quotas_all_count(leases: RequestLeases) -> None:
    """Tiingo's hour, day and month: the first that is spent refuses."""
    quotas = tuple(
        Quota(limit=limit, period=period)
        for limit, period in zip((2, 5, 9), QuotaPeriod, strict=True)
    )
    assert (
        len(granted(leases.take(lease_request(4, limits(interval_s=0.11, quotas=quotas)))).slots_s)
        == 2
    )
    refusal = refused(
        leases.take(lease_request(1, limits(quotas=quotas))), RefusalReason.QUOTA_SPENT
    )
    assert "2 a hour" in refusal.detail


def open_breaker(leases: RequestLeases, policy: BreakerPolicy = BREAKER) -> None:
    """Fail often enough to open the breaker."""
    for _ in range(policy.failures):
        leases.report_failure("p", 0, NEVER, policy)


def test_five_failures_in_a_row_open_the_breaker_whoever_saw_them(
    leases: RequestLeases, timescale: Timescale
) -> None:
    """Three of one process and two of another; both are rejected at once."""
    with RequestLeases(timescale) as other:
        for own in (leases, leases, leases, other):
            assert own.report_failure("p", 0, NEVER, BREAKER).state is BreakerState.CLOSED
        assert granted(other.take(lease_request(1))).failures == 4
        assert leases.report_failure("p", 0, NEVER, BREAKER).state is BreakerState.OPEN
        refusal = refused(other.take(lease_request(1)), RefusalReason.CIRCUIT_OPEN)
    assert 29.0 < refusal.retry_after_s <= 30.0
    assert "p's circuit breaker is open after 5 failures in a row" in refusal.detail
    assert "ProviderUnavailableError: p o: HTTP 503" in refusal.detail


def test_a_success_in_between_begins_the_count_anew(leases: RequestLeases) -> None:
    """Consecutive means consecutive."""
    for _ in range(3):
        for _ in range(BREAKER.failures - 1):
            leases.report_failure("p", 0, NEVER, BREAKER)
        leases.report_success("p", 0)
    assert leases.breakers()[0].failures == 0
    granted(leases.take(lease_request(1)))


QUICK = BreakerPolicy(failures=2, open_s=0.2, trial_answer_s=0.3, trial_expires_s=0.6)


def test_after_the_pause_exactly_one_request_is_the_trial_and_its_success_closes(
    leases: RequestLeases, timescale: Timescale
) -> None:
    """Of eight processes that ask at once, one gets one permit; the others wait for its outcome."""
    open_breaker(leases, QUICK)
    time.sleep(0.25)

    def ask(_: int) -> Lease | Refusal:
        with RequestLeases(timescale) as own:
            return own.take(lease_request(3, breaker=QUICK))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    (trial,) = [answer for answer in answers if isinstance(answer, Lease)]
    assert trial.trial
    assert len(trial.slots_s) == 1
    for answer in answers:
        if answer is not trial:
            refused(answer, RefusalReason.LATER)
    leases.report_success("p", 0)
    refused(leases.take(lease_request(1)), RefusalReason.LATER)
    leases.report_success("p", trial.lease_id)
    assert granted(leases.take(lease_request(1))).failures == 0
    with timescale.connection() as connection:
        steps = connection.execute(
            "select to_state::text from circuit_breaker_transition order by transition_id"
        ).fetchall()
    assert [state for (state,) in steps] == ["open", "half_open", "closed"]


def test_a_trial_that_fails_opens_the_breaker_again(leases: RequestLeases) -> None:
    """For the whole time; reports of other requests meanwhile do not extend it."""
    open_breaker(leases, QUICK)
    time.sleep(0.25)
    trial = granted(leases.take(lease_request(1, breaker=QUICK)))
    leases.report_failure("p", 0, NEVER, QUICK)
    assert leases.breakers()[0].state is BreakerState.HALF_OPEN
    assert leases.report_failure("p", trial.lease_id, NEVER, QUICK).state is BreakerState.OPEN
    refusal = refused(leases.take(lease_request(1, breaker=QUICK)), RefusalReason.CIRCUIT_OPEN)
    time.sleep(0.1)
    leases.report_failure("p", 0, NEVER, QUICK)
    again = refused(leases.take(lease_request(1, breaker=QUICK)), RefusalReason.CIRCUIT_OPEN)
    assert again.retry_after_s < refusal.retry_after_s


def test_a_trial_whose_holder_died_goes_to_the_next_who_asks(leases: RequestLeases) -> None:
    """Once it has expired; the dead one's late report changes nothing."""
    open_breaker(leases, QUICK)
    time.sleep(0.25)
    dead = granted(leases.take(lease_request(1, breaker=QUICK)))
    refused(leases.take(lease_request(1, breaker=QUICK)), RefusalReason.LATER)
    time.sleep(QUICK.trial_expires_s + 0.05)
    second = granted(leases.take(lease_request(1, breaker=QUICK)))
    assert second.trial
    leases.report_failure("p", dead.lease_id, NEVER, QUICK)
    leases.report_success("p", dead.lease_id)
    assert leases.breakers()[0].state is BreakerState.HALF_OPEN


def test_a_trial_given_back_goes_to_the_next_at_once(leases: RequestLeases) -> None:
    """A process that is asked to stop does not block the others."""
    open_breaker(leases, QUICK)
    time.sleep(0.25)
    first = granted(leases.take(lease_request(1, limits(interval_s=0.11), breaker=QUICK)))
    leases.give_back(first.lease_id, [0])
    assert granted(leases.take(lease_request(1, limits(interval_s=0.11), breaker=QUICK))).trial


def test_a_breaker_concerns_its_provider_only(leases: RequestLeases) -> None:
    """Another provider's requests go on."""
    for _ in range(BREAKER.failures):
        leases.report_failure("other", 0, NEVER, BREAKER)
    granted(leases.take(lease_request(1)))


def test_a_server_that_ends_the_connection_costs_one_call(
    leases: RequestLeases, migrated_url: str
) -> None:
    """A restart between two leases: unavailable once, then there again, and no slot twice."""
    first = granted(leases.take(lease_request(1)))
    with psycopg.connect(migrated_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    with pytest.raises(errors.StorageUnavailableError):
        leases.take(lease_request(1))
    assert first.slots_s == (0.0,)
    assert granted(leases.take(lease_request(1))).slots_s[0] > 0.0


def test_a_database_without_migrations_is_a_conflict(database_url: str) -> None:
    """Waiting would not help: a person has to migrate."""
    with (
        Timescale(database_url) as timescale,
        RequestLeases(timescale) as own,
        pytest.raises(errors.StorageConflictError, match="run `wrdata migrate`"),
    ):
        own.take(lease_request(1))


def test_a_wait_for_locks_is_told_apart_from_the_round_trip(
    leases: RequestLeases, timescale: Timescale
) -> None:
    """Waiting for the lock does not make the slots uncertain."""
    leases.take(lease_request(1, limits(interval_s=0.11)))
    with ThreadPoolExecutor(1) as thread, timescale.connection() as connection:
        connection.execute("select * from request_budget for update")
        began = time.monotonic()
        waiting = thread.submit(leases.take, lease_request(1, limits(interval_s=0.11)))
        time.sleep(0.3)
        connection.commit()
        lease = granted(waiting.result())
    took_s = time.monotonic() - began
    assert 0.25 < lease.decided_after_s <= took_s
    assert lease.slots_s == (0.0,)


class SkewedLoop(asyncio.SelectorEventLoop):
    """The loop of a worker whose clock is two minutes off."""

    def time(self) -> float:
        return super().time() + 120.0


def work(
    timescale: Timescale,
    shared: RequestLimits,
    loop: type[asyncio.SelectorEventLoop] = asyncio.SelectorEventLoop,
    lane: Lane = Lane.BACKFILL,
    seconds: float = 3.0,
) -> list[float]:
    """Send as fast as the budget allows for some seconds, as one process would."""
    went: list[float] = []

    async def worker() -> None:
        ends_at = time.monotonic() + seconds
        with RequestLeases(timescale) as own:
            budget = LeasedBudget(
                leases=own,
                limits=[shared],
                provider="p",
                lane=lane,
                holder=Holder.this_process("run"),
            )
            async with budget:

                async def ask() -> None:
                    while time.monotonic() < ends_at:
                        await budget.acquire()
                        went.append(time.monotonic())

                await asyncio.gather(*(ask() for _ in range(8)))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(worker())
    return went


def test_workers_share_the_budget_whatever_their_clocks_say(timescale: Timescale) -> None:
    """Four at once, one of them two minutes off: no window over the limit, and little unused."""
    pace = Pace(limit=20, window_s=1.0, slack_s=0.4)
    shared = RequestLimits(budget="key", paces=(pace,))
    loops = [asyncio.SelectorEventLoop] * 3 + [SkewedLoop]
    with ThreadPoolExecutor(4) as threads:
        per_worker = list(threads.map(lambda loop: work(timescale, shared, loop), loops))
    assert all(per_worker), "everyone gets some"
    went = sorted(at for taken in per_worker for at in taken)
    for first, opens in enumerate(went):
        window = itertools.takewhile(lambda at, opens=opens: at <= opens + 1.0, went[first:])
        assert len(list(window)) <= pace.limit
    assert len(went) >= 0.7 * 3.0 / shared.interval_s


def test_a_scheduled_run_gets_nearly_all_of_a_budget_that_backfills_want_too(
    timescale: Timescale,
) -> None:
    """Once what they had reserved is used up; and nothing of the budget lies idle."""
    shared = RequestLimits(budget="key", paces=(Pace(limit=20, window_s=1.0, slack_s=0.4),))
    lanes = [Lane.BACKFILL] * 3 + [Lane.SCHEDULED]
    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        per_worker = list(
            threads.map(lambda lane: work(timescale, shared, lane=lane, seconds=6.0), lanes)
        )
    counts = [sum(began + 2.5 < at < began + 6.0 for at in taken) for taken in per_worker]
    assert counts[-1] >= 0.8 * sum(counts)
    assert sum(counts) >= 0.7 * 3.5 / shared.interval_s


def test_a_worker_that_ends_leaves_no_hole(leases: RequestLeases) -> None:
    """Its unused reservations go to the next process."""
    # No permit is void before it is used, however late a busy machine gets to it.
    patient = limits(interval_s=5.0, slack_s=4.0)

    async def leave_early() -> None:
        budget = LeasedBudget(
            leases=leases,
            limits=[patient],
            provider="p",
            lane=Lane.SCHEDULED,
            holder=Holder.this_process(),
        )
        async with budget:
            waiting = [asyncio.create_task(budget.acquire()) for _ in range(8)]
            await waiting[0]
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(leave_early())
    (status,) = leases.status()
    assert status.this_hour == 1
    assert status.reserved_s <= patient.interval_s
    assert status.leases == {Lane.SCHEDULED: 0, Lane.BACKFILL: 0}
