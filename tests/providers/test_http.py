"""One GET: attempts, pauses, time-outs, and a key that nobody gets to see."""

import asyncio
import itertools
import logging
import traceback
from datetime import UTC, datetime

import pytest

from marketdata.recovery import errors
from marketdata.recovery.policy import REQUEST_RETRY, RequestRetry
from resources.providers.http import HttpAnswer, HttpGetter, retry_after_s, status_error
from tests.providers.permits import AT_ONCE, CountedBudget
from tests.providers.scripted_server import Reply, Script, always, one_by_one, serve
from tests.providers.virtual_clock import run

KEY = "s3cr3t/key+with=signs"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _judge(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
    return status_error(answer, provider="p", operation=operation, detail="")


def _getter(url: str, budget: CountedBudget, retry: RequestRetry, in_flight: int = 4) -> HttpGetter:
    return HttpGetter(
        provider="p",
        base_url=url,
        key=("apikey", KEY),
        budget=budget,
        retry=retry,
        judge=_judge,
        in_flight=in_flight,
    )


class Outcome:
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
    outcome = Outcome(one_by_one(Reply(status=503), Reply(body=b"abc", headers={"X-Y": "z"})))
    assert outcome.answer is not None
    assert outcome.answer.body == b"abc"
    assert outcome.answer.sha256.startswith("ba7816bf")
    assert outcome.answer.headers["x-y"] == "z"
    assert outcome.answer.fetched_at.tzinfo is UTC
    assert outcome.answer.requests == 2


def test_parameters_and_key_arrive_as_they_were_given() -> None:
    """Signs within them are encoded for the way and read back alike."""
    (request,) = Outcome(always(Reply())).requests
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
        (Reply(silent=True), errors.ProviderUnavailableError, 3),
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
    ],
)
def test_each_failure_has_its_class_and_its_number_of_attempts(
    reply: Reply, kind: type[errors.ProviderError], attempts: int
) -> None:
    """What may pass is tried again and paid for again; what is permanent is asked once."""
    outcome = Outcome(always(reply))
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


@pytest.mark.parametrize(
    ("told", "least", "most"), [("7", 7.0, 7.1), ("3600", 20.0, 20.1), ("0", 0.0, 0.1)]
)
def test_the_next_attempt_comes_when_the_provider_asks_for_it(
    told: str, least: float, most: float
) -> None:
    """Retry-After is slept to the second, a very long one only up to the policy's longest."""
    refused = Reply(status=429, headers={"retry-after": told})
    outcome = Outcome(one_by_one(refused, Reply()), REQUEST_RETRY)
    first, second = (request.at_s for request in outcome.requests)
    assert least <= second - first <= most


def test_pauses_grow_and_stay_within_the_policy() -> None:
    """Without Retry-After: from the first pause on, doubled, with jitter, bounded."""
    retry = RequestRetry(attempts=5, first_wait_s=1.0, longest_wait_s=4.0, jitter_s=0.5)
    times = [one.at_s for one in Outcome(always(Reply(status=500)), retry).requests]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for pause, floor in zip(pauses, [1.0, 2.0, 4.0, 4.0], strict=True):
        assert floor <= pause <= min(floor + 0.5, 4.0) + 0.1


def test_requests_under_way_are_bounded() -> None:
    """Of ten callers three are served at once, the others after them."""

    async def ask() -> int:
        most = 0

        class Watched(CountedBudget):
            running = 0

            async def acquire(self, weight: int = 1) -> None:
                nonlocal most
                await super().acquire(weight)
                self.running += 1
                most = max(most, self.running)
                await asyncio.sleep(1)
                self.running -= 1

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
    outcome = Outcome(always(reply))
    assert outcome.requests[0].query["apikey"] == KEY
    shown = caplog.text + repr(outcome.answer)
    error: BaseException | None = outcome.error
    while error is not None:
        shown += repr(error) + "".join(traceback.format_exception(error))
        shown += str(getattr(error, "_request", None) and error.request.url)  # type: ignore[attr-defined]
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
            key=("apikey", key),
            budget=CountedBudget(),
            retry=AT_ONCE,
            judge=_judge,
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
