"""One GET: attempts, pauses, time-outs, and a key that is never shown."""

import asyncio
import itertools
import logging
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from marketdata.recovery import errors
from marketdata.recovery.policy import REQUEST_RETRY, RequestRetry
from resources.providers.budget import Outcome, Permit
from resources.providers.http import (
    AnswerKeeper,
    HttpAnswer,
    HttpGetter,
    QueryKey,
    retry_after_s,
    status_error,
)
from tests.providers.permits import AT_ONCE, CountedBudget
from tests.providers.scripted_server import Reply, Script, always, one_by_one, serve
from tests.providers.virtual_clock import run

KEY = "s3cr3t/key+with=signs"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _classify(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
    return status_error(answer, provider="p", operation=operation, detail="")


def _getter(
    url: str,
    budget: CountedBudget,
    retry: RequestRetry,
    in_flight: int = 4,
    keep: AnswerKeeper | None = None,
) -> HttpGetter:
    return HttpGetter(
        provider="p",
        base_url=url,
        key=QueryKey(name="apikey", value=KEY),
        budget=budget,
        retry=retry,
        classify=_classify,
        in_flight=in_flight,
        keep=keep,
    )


class OneRequest:
    """What became of one GET against a scripted server."""

    def __init__(self, script: Script, retry: RequestRetry = AT_ONCE) -> None:
        self.answer: HttpAnswer | None = None
        self.error: errors.ProviderError | None = None
        self.budget = CountedBudget()
        run(self._ask(script, retry))

    async def _ask(self, script: Script, retry: RequestRetry) -> None:
        async with serve(script) as server, _getter(server.url, self.budget, retry) as getter:
            try:
                self.answer = await getter.get("a/b", {"q": "1&2"}, operation="a/b q")
            except errors.ProviderError as error:
                self.error = error
        self.requests = server.requests
        self.sent = getter.requests_sent


def test_an_answer_comes_with_its_digest_its_time_and_its_count() -> None:
    """The body is whole, the digest is of its bytes, repeats are counted."""
    outcome = OneRequest(one_by_one(Reply(status=503), Reply(body=b"abc", headers={"X-Y": "z"})))
    assert outcome.answer is not None
    assert outcome.answer.body == b"abc"
    assert outcome.answer.sha256.startswith("ba7816bf")
    assert outcome.answer.headers["x-y"] == "z"
    assert outcome.answer.fetched_at.tzinfo is UTC
    assert outcome.answer.requests == 2


def test_parameters_and_key_arrive_as_they_were_given() -> None:
    """Signs within them are encoded for the way and read back alike."""
    (request,) = OneRequest(always(Reply())).requests
    assert request.path == "/stable/a/b"
    assert request.query == {"q": "1&2", "apikey": KEY}


@pytest.mark.parametrize(
    ("reply", "kind", "attempts"),
    [
        (Reply(status=500), errors.ProviderUnavailableError, 3),
        (Reply(status=503, body=b"<html>"), errors.ProviderUnavailableError, 3),
        (Reply(status=429), errors.RateLimitedError, 3),
        (Reply(status=408), errors.RateLimitedError, 3),
        (Reply(cut=True), errors.ProviderUnavailableError, 3),
        # Two times 30 s without a word use up the policy's total time.
        (Reply(silent=True), errors.ProviderUnavailableError, 2),
        (
            Reply(headers={"content-encoding": "gzip"}, body=b"not gzip"),
            errors.ProviderUnavailableError,
            3,
        ),
        (Reply(status=301, headers={"location": "/"}), errors.RequestRejectedError, 1),
        (Reply(status=400), errors.RequestRejectedError, 1),
        (Reply(status=404), errors.RequestRejectedError, 1),
        (Reply(status=401), errors.KeyRefusedError, 1),
        (Reply(status=402), errors.NotEntitledError, 1),
        (Reply(status=403), errors.NotEntitledError, 1),
        (Reply(status=403, body=b'{"message":"not in your plan"}'), errors.NotEntitledError, 1),
        (Reply(status=403, body=b"<html>blocked"), errors.ProviderUnavailableError, 3),
        (Reply(status=403, body=b"error code: 1020"), errors.ProviderUnavailableError, 3),
        (Reply(status=403, body=b"Access Denied"), errors.ProviderUnavailableError, 3),
        (Reply(status=403, body=b'{"m":"no, for a while"}'), errors.ProviderUnavailableError, 3),
        (Reply(status=403, body=b"temporarily blocked"), errors.ProviderUnavailableError, 3),
    ],
)
def test_each_failure_has_its_class_and_its_number_of_attempts(
    reply: Reply, kind: type[errors.ProviderError], attempts: int
) -> None:
    """Temporary errors are retried and charged again; permanent ones are asked once."""
    outcome = OneRequest(always(reply))
    assert outcome.error is not None
    assert type(outcome.error) is kind
    assert len(outcome.requests) == outcome.budget.taken == outcome.sent == attempts
    assert (outcome.error.provider, outcome.error.operation) == ("p", "a/b q")


def test_an_address_where_nobody_listens_is_unavailable() -> None:
    """A refused connection is the network's failure, tried as often as the policy says."""

    async def ask() -> int:
        async with serve(always(Reply())) as server:
            url = server.url
        budget = CountedBudget()
        async with _getter(url, budget, AT_ONCE) as getter:
            with pytest.raises(errors.ProviderUnavailableError, match="ConnectError"):
                await getter.get("x", {}, operation="x")
        return budget.taken

    assert run(ask()) == 3


def test_a_connection_that_never_comes_about_is_tried_three_times_and_names_its_host() -> None:
    """A mistyped address fails within seconds, not a quarter of a minute."""

    async def ask() -> tuple[int, str]:
        async with serve(always(Reply())) as server:
            url = server.url
        budget = CountedBudget()
        patient = replace(AT_ONCE, attempts=5)
        async with _getter(f"{url}/secret-path", budget, patient) as getter:
            with pytest.raises(errors.ProviderUnavailableError) as raised:
                await getter.get("x", {}, operation="x")
        assert url.partition("//")[2].partition("/")[0] in str(raised.value)
        return budget.taken, str(raised.value)

    taken, message = run(ask())
    assert taken == 3
    assert "no connection to 127.0.0.1:" in message
    assert "is that its address?" in message
    assert "secret-path" not in message


@pytest.mark.parametrize(
    ("message", "least", "most"),
    [
        ("7", 7.0, 7.1),
        ("60", 20.0, 20.1),
        ("0", 0.5, 1.6),
        ("Fri, 02 Jan 2015 03:05:05 GMT", 0.5, 1.6),
    ],
)
def test_the_next_attempt_comes_when_the_provider_asks_for_it(
    message: str, least: float, most: float
) -> None:
    """Retry-After is slept to the second, a long one up to the policy's longest, none as usual."""
    refused = Reply(status=429, headers={"retry-after": message})
    outcome = OneRequest(one_by_one(refused, Reply()), REQUEST_RETRY)
    first, second = (request.at_s for request in outcome.requests)
    assert least <= second - first <= most


@pytest.mark.parametrize("message", ["0", "Fri, 02 Jan 2015 03:05:05 GMT"])
def test_a_retry_after_that_says_nothing_leaves_pauses_that_grow(message: str) -> None:
    """Five requests take seconds, not half of one, and no two of them the same pause."""
    refused = Reply(status=429, headers={"retry-after": message})
    times = [request.at_s for request in OneRequest(always(refused), REQUEST_RETRY).requests]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for pause, floor in zip(pauses, [0.5, 1.0, 2.0, 4.0], strict=True):
        assert floor <= pause <= floor + 1.1
    assert len({round(pause % 0.5, 6) for pause in pauses}) > 1


@pytest.mark.parametrize("status", [429, 418, 503])
def test_a_pause_of_an_hour_is_not_asked_into(status: int) -> None:
    """One request, and the error says when to come back."""
    refused = Reply(status=status, headers={"retry-after": "3600"})
    outcome = OneRequest(always(refused), REQUEST_RETRY)
    assert len(outcome.requests) == 1
    assert isinstance(outcome.error, errors.TransientProviderError)
    assert outcome.error.retry_after_s == 3600.0


def test_pauses_grow_and_stay_within_the_policy() -> None:
    """Without Retry-After: from the first pause on, doubled, with jitter, bounded."""
    retry = RequestRetry(attempts=5, first_wait_s=1.0, longest_wait_s=4.0, jitter_s=0.5)
    times = [request.at_s for request in OneRequest(always(Reply(status=500)), retry).requests]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for pause, floor in zip(pauses, [1.0, 2.0, 4.0, 4.0], strict=True):
        assert floor <= pause <= min(floor + 0.5, 4.0) + 0.1


def test_waiting_for_the_budget_does_not_use_up_the_time_for_repeats() -> None:
    """A queue of ten minutes before each attempt, and still all attempts are made."""

    class Slow(CountedBudget):
        async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
            await asyncio.sleep(600.0)
            return await super().acquire(weight, operation=operation)

    async def ask() -> int:
        async with (
            serve(one_by_one(Reply(status=500), Reply(status=500), Reply())) as server,
            _getter(server.url, Slow(), AT_ONCE) as getter,
        ):
            return (await getter.get("x", {}, operation="x")).requests

    assert run(ask()) == 3


def test_attempts_and_pauses_together_are_bounded() -> None:
    """Pauses of 20 s: of ten attempts only those that begin within 60 s are made."""
    retry = RequestRetry(attempts=10, total_s=60.0, first_wait_s=20.0, longest_wait_s=20.0)
    outcome = OneRequest(always(Reply(status=500)), retry)
    assert len(outcome.requests) == 4
    assert outcome.requests[-1].at_s - outcome.requests[0].at_s < 60.0 + 21.0


def test_one_attempt_cannot_outlast_the_total() -> None:
    """A byte now and then never times out by reads: the attempt is ended with what is left.

    In real time: that it holds is a matter of clocks, tasks and sockets together.
    """
    retry = RequestRetry(attempts=5, total_s=1.5, first_wait_s=0.1, longest_wait_s=0.1, jitter_s=0)

    async def ask() -> tuple[float, int]:
        began = time.monotonic()
        slow = Reply(body=b"x" * 1000, byte_every_s=0.05)
        async with (
            serve(one_by_one(Reply(status=503), slow)) as server,
            _getter(server.url, CountedBudget(), retry) as getter,
        ):
            with pytest.raises(errors.ProviderUnavailableError, match="no answer in time"):
                await getter.get("x", {}, operation="x")
            return time.monotonic() - began, len(server.requests)

    took_s, requests = asyncio.run(ask())
    assert requests == 2
    assert 1.2 < took_s < 2.5


def test_a_pause_that_would_end_too_late_is_not_begun() -> None:
    """Retry-After of 15 s where 10 are left: the work is handed back now."""
    retry = RequestRetry(attempts=5, total_s=10.0, longest_wait_s=20.0)
    refused = Reply(status=429, headers={"retry-after": "15"})
    outcome = OneRequest(always(refused), retry)
    assert len(outcome.requests) == 1
    assert isinstance(outcome.error, errors.RateLimitedError)


@pytest.mark.parametrize("kind", [errors.CircuitOpenError, errors.BudgetSpentError])
def test_what_the_budget_holds_back_is_neither_sent_nor_repeated(
    kind: type[errors.NotSentError],
) -> None:
    """The caller gets the error at once and puts the work off."""

    class Closed(CountedBudget):
        async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
            await super().acquire(weight)
            message = "held"
            raise kind(message, provider="p", operation=operation, retry_after_s=23.0)

    async def ask() -> tuple[int, int]:
        budget = Closed()
        async with (
            serve(always(Reply())) as server,
            _getter(server.url, budget, REQUEST_RETRY) as getter,
        ):
            with pytest.raises(kind, match="p daily AAPL: not sent: held"):
                await getter.get("x", {}, operation="daily AAPL")
        return budget.taken, len(server.requests)

    assert run(ask()) == (1, 0)


@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        (Reply(), None, 200),
        (Reply(status=503), errors.ProviderUnavailableError, 503),
        (Reply(cut=True), errors.ProviderUnavailableError, None),
        (Reply(status=429), errors.RateLimitedError, 429),
        (Reply(status=404), errors.RequestRejectedError, 404),
    ],
)
def test_the_budget_learns_what_became_of_each_attempt(
    reply: Reply, kind: type[errors.ProviderError] | None, status: int | None
) -> None:
    """Whether an answer came, which one, and with which headers."""
    outcome = OneRequest(always(reply))
    expected = 1 if kind is errors.ProviderUnavailableError else len(outcome.requests)
    assert len(outcome.budget.outcomes) == expected, "a request that fails again is no news"
    for observed in outcome.budget.outcomes:
        assert observed is not None
        assert (type(observed.error) if observed.error else None) is kind
        assert observed.status == status
        assert ("content-type" in observed.headers) is (status is not None)


def test_every_attempt_is_counted_with_its_time_and_its_error() -> None:
    """Repeats too, of which the breaker hears nothing."""
    outcome = OneRequest(one_by_one(Reply(status=503), Reply(status=503), Reply(body=b"x")))
    classes = [type(error).__name__ for _, error in outcome.budget.attempts]

    assert classes == ["ProviderUnavailableError", "ProviderUnavailableError", "NoneType"]
    assert all(seconds >= 0 for seconds, _ in outcome.budget.attempts)
    assert len(outcome.budget.outcomes) == 2


def test_an_attempt_that_is_cancelled_is_reported_as_unknown() -> None:
    """It shows nothing about the provider; the trial is free for another request."""

    async def ask() -> list[Outcome | None]:
        budget = CountedBudget()
        arrived = asyncio.Event()

        def script(_: object) -> Reply:
            arrived.set()
            return Reply(silent=True)

        async with (
            serve(script) as server,
            _getter(server.url, budget, AT_ONCE) as getter,
        ):
            asking = asyncio.create_task(getter.get("x", {}, operation="x"))
            await arrived.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        return budget.outcomes

    assert run(ask()) == [None]


def test_a_trial_without_an_answer_fails_in_its_own_time() -> None:
    """Sooner than other requests, since others wait for its outcome."""

    class Trial(CountedBudget):
        async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
            await super().acquire(weight, operation=operation)
            return Permit(lease_id=1, answer_within_s=7.0)

    async def ask() -> float:
        began = asyncio.get_running_loop().time()
        async with (
            serve(always(Reply(silent=True))) as server,
            _getter(server.url, Trial(), RequestRetry(attempts=1)) as getter,
        ):
            with pytest.raises(errors.ProviderUnavailableError):
                await getter.get("x", {}, operation="x")
        return asyncio.get_running_loop().time() - began

    assert 7.0 <= run(ask()) < 7.5


class Kept:
    """Keeps answers in a list."""

    def __init__(self, error: Exception | None = None) -> None:
        self.answers: list[tuple[str, str, bytes, str, str]] = []
        self._error = error

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        if self._error:
            raise self._error
        self.answers.append((provider, operation, body, sha256[:8], media_type))
        return f"raw/{len(self.answers)}"


def _asked(script: Script, kept: Kept) -> HttpAnswer:
    """Ask once; on a real clock, since answers are kept in a thread."""

    async def ask() -> HttpAnswer:
        async with (
            serve(script) as server,
            _getter(server.url, CountedBudget(), AT_ONCE, keep=kept) as getter,
        ):
            return await getter.get("x", {"q": "1"}, operation="x q=1")

    return asyncio.run(ask())


def test_an_answer_is_kept_before_anyone_sees_it_and_refused_ones_are_not() -> None:
    """Only the one that is no error, with what it is; the answer carries the pointer."""
    kept = Kept()
    answer = _asked(one_by_one(Reply(status=500), Reply(body=b"abc")), kept)
    assert answer.raw_answer == "raw/1"
    assert kept.answers == [("p", "x q=1", b"abc", "ba7816bf", "application/json")]


def test_an_answer_that_cannot_be_kept_is_not_given_out() -> None:
    """An answer that is not kept is not loaded, and not asked for again."""
    asked = 0

    def script(_: object) -> Reply:
        nonlocal asked
        asked += 1
        return Reply()

    with pytest.raises(errors.StorageUnavailableError, match="disk full"):
        _asked(script, Kept(errors.StorageUnavailableError("disk full")))
    assert asked == 1


def test_a_retry_after_date_is_read_by_the_provider_s_clock() -> None:
    """A worker whose clock is minutes off waits as long as was meant."""
    answer = HttpAnswer(
        status=429,
        headers={
            "date": "Fri, 02 Jan 2026 03:02:05 GMT",
            "retry-after": "Fri, 02 Jan 2026 03:02:15 GMT",
        },
        body=b"",
        sha256="",
        fetched_at=NOW,
        requests=1,
    )
    error = _classify(answer, "o")
    assert isinstance(error, errors.RateLimitedError)
    assert error.retry_after_s == 10.0


def test_requests_under_way_are_bounded() -> None:
    """Of ten callers three are served at once, the others after them."""

    async def ask() -> int:
        most = 0

        class Watched(CountedBudget):
            running = 0

            async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
                nonlocal most
                permit = await super().acquire(weight, operation=operation)
                self.running += 1
                most = max(most, self.running)
                await asyncio.sleep(1)
                self.running -= 1
                return permit

        async with (
            serve(always(Reply())) as server,
            _getter(server.url, Watched(), AT_ONCE, in_flight=3) as getter,
        ):
            await asyncio.gather(*(getter.get("x", {}, operation="x") for _ in range(10)))
        return most

    assert run(ask()) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(),
        Reply(status=500),
        Reply(cut=True),
        Reply(status=302, headers={"location": f"https://elsewhere.invalid/?apikey={KEY}"}),
    ],
)
def test_the_key_is_in_no_log_line_and_no_error(
    reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    """Even at DEBUG, even in the notes of chained errors; httpx's own line prints whole URLs."""
    caplog.set_level(logging.DEBUG)
    outcome = OneRequest(always(reply))
    assert outcome.requests[0].query["apikey"] == KEY
    shown = caplog.text + repr(outcome.answer)
    error: BaseException | None = outcome.error
    while error is not None:
        shown += repr(error) + "".join(traceback.format_exception(error))
        request = getattr(error, "_request", None)
        shown += str(request and request.url)
        error = error.__cause__
    assert "s3cr3t" not in shown
    if not reply.cut:
        assert "HTTP Request: GET" in caplog.text, "the log that could show it was seen"


def test_a_getter_hides_its_key() -> None:
    """Its repr, as a debugger or a log of arguments would print it."""
    getter = _getter("http://127.0.0.1:9/stable", CountedBudget(), AT_ONCE)
    assert "s3cr3t" not in repr(getter)


def test_a_closed_getter_explains_itself() -> None:
    """Using it outside `async with` is a mistake in the program."""
    getter = _getter("http://127.0.0.1:9/stable", CountedBudget(), AT_ONCE)
    with pytest.raises(RuntimeError, match="async with"):
        run(getter.get("x", {}, operation="x"))


@pytest.mark.parametrize(
    ("url", "key", "named"),
    [
        ("ftp://host/x", "k", "base address"),
        ("host/x", "k", "base address"),
        ("http://host:port/x", "k", "base address"),
        ("http://host/x", "", "key"),
        ("http://host/x", "k\n", "key"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(url: str, key: str, named: str) -> None:
    """The text names the setting; nothing is sent."""
    with pytest.raises(errors.ConfigurationError, match=named):
        HttpGetter(
            provider="p",
            base_url=url,
            key=QueryKey(name="apikey", value=key),
            budget=CountedBudget(),
            retry=AT_ONCE,
            classify=_classify,
            in_flight=1,
        )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("30", 30.0),
        (" 5 ", 5.0),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60.0),
        ("Fri, 02 Jan 2026 03:05:05", 60.0),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(header: str | None, expected: float | None) -> None:
    """Seconds or an HTTP date; anything else is as good as no header."""
    assert retry_after_s(header, now=NOW) == expected


def test_a_repeat_that_may_not_go_leaves_what_the_request_failed_with() -> None:
    """It was sent and answered 503: the dead letter says so, and counts an attempt."""

    class OpensAfterTheFirst(CountedBudget):
        async def acquire(self, weight: int = 1, *, operation: str = "request") -> Permit:
            if self.taken:
                raise errors.CircuitOpenError(
                    "the breaker is open", provider="p", operation=operation, retry_after_s=30.0
                )
            return await super().acquire(weight, operation=operation)

    async def ask(budget: CountedBudget) -> tuple[errors.ProviderError, int]:
        async with serve(always(Reply(status=503))) as server:
            async with _getter(server.url, budget, AT_ONCE) as getter:
                with pytest.raises(errors.ProviderError) as caught:
                    await getter.get("a/b", {}, operation="a/b")
            return caught.value, len(server.requests)

    error, sent = run(ask(OpensAfterTheFirst()))
    assert type(error) is errors.ProviderUnavailableError
    assert sent == 1
