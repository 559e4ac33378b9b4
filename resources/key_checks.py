"""One authorised request to each provider: is the key accepted, and what does its plan allow?

Here: the cheapest request that needs a key, and what its answer shows. Not here: keys, addresses
and limits (clients.py), a provider's errors (its wire.py), or the advice to a person
(pipelines/cli/diagnosis.py).

Each question is one request, never repeated, charged to the budget that all processes share.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from marketdata.recovery.leases import Holder
from marketdata.recovery.limits import Lane
from marketdata.recovery.policy import RequestRetry
from resources import clients
from resources.clients import Line
from resources.providers import fred
from resources.providers.budget import PacedBudget, RequestBudget
from resources.providers.http import HttpAnswer, HttpGetter, ResponseClassifier
from resources.providers.leased_budget import LeasedBudget
from resources.settings import Settings
from resources.storage.request_leases import RequestLeases

ANSWER_WITHIN_S = 20.0
"""Including the wait for a permit: a spent or crowded budget is reported instead."""
ONCE = RequestRetry(attempts=1, total_s=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request to a provider over one of its lines.

    Attributes:
        path: Below the line's address; ``{day}`` stands for a day that every plan includes.
        parameters: The query, without the key.
        plan: Describes the plan from a good answer; empty if unknown.
        classifier: Makes a classifier from the key, in place of the line's: a client's may doubt
            the first refusal of a key, but here no request is repeated.
    """

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    plan: Callable[[HttpAnswer], str] = lambda _: ""
    classifier: Callable[[str], ResponseClassifier] | None = None


async def ask(settings: Settings, provider: str, leases: RequestLeases | None) -> tuple[str, ...]:
    """Ask a provider once over each of its lines; return what the answers show of the plan.

    Args:
        settings: Keys, addresses and limits.
        provider: Its short name.
        leases: The shared budget; None if the database is unavailable: then this process paces
            itself.

    Raises:
        ConfigurationError: The key is not set, or the address is not one.
        ProviderError: The provider refuses, or does not answer; KeyRefusedError for its key.
    """
    lines = clients.lines(settings, provider)
    return tuple(
        [
            await _answer(provider, line, question, leases)
            for line, question in zip(lines, QUESTIONS[provider], strict=False)
        ]
    )


async def _answer(
    provider: str, line: Line, question: Question, leases: RequestLeases | None
) -> str:
    classify = (
        question.classifier(line.key.value) if question.classifier and line.key else line.classify
    )
    path = question.path.format(day=utc_now().date() - timedelta(days=7))
    async with AsyncExitStack() as stack:
        getter = await stack.enter_async_context(
            HttpGetter(
                provider=provider,
                base_url=line.base_url,
                key=line.key,
                budget=await _budget(provider, line, leases, stack),
                retry=ONCE,
                classify=classify,
                in_flight=1,
            )
        )
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await getter.get(path, question.parameters, operation=path)
        except TimeoutError:
            message = f"no permit of its budget within {ANSWER_WITHIN_S:g} s: others use it"
            raise errors.BudgetSpentError(
                message, provider=provider, operation=path, retry_after_s=ANSWER_WITHIN_S
            ) from None
    return question.plan(answer)


async def _budget(
    provider: str, line: Line, leases: RequestLeases | None, stack: AsyncExitStack
) -> RequestBudget:
    if leases is None:
        return PacedBudget(requests=1)
    return await stack.enter_async_context(
        LeasedBudget(
            leases=leases,
            limits=line.limits,
            provider=provider,
            lane=Lane.SCHEDULED,
            holder=Holder.this_process("wrdata doctor"),
        )
    )


def _polygon_plan(answer: HttpAnswer) -> str:
    """Return a note if prices are delayed: the status is DELAYED below the plan Advanced."""
    try:
        status = json.loads(answer.body).get("status")
    except (ValueError, AttributeError):
        return ""
    return "plan with delayed prices" if status == "DELAYED" else ""


_CHECKSUM = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-02.zip.CHECKSUM"
QUESTIONS: Mapping[str, tuple[Question, ...]] = {
    # Included from FMP's plan Premium on; the universe depends on it.
    "fmp": (Question(path="sp500-constituent", plan=lambda _: "plan with index constituents"),),
    "polygon": (Question(path="v2/aggs/ticker/AAPL/range/1/day/{day}/{day}", plan=_polygon_plan),),
    "tiingo": (Question(path="tiingo/daily/aapl/prices"),),
    "fred": (
        Question(
            path="series",
            parameters={"series_id": "GDP", "file_type": "json"},
            classifier=lambda key: partial(fred.classify_error, key=key),
        ),
    ),
    "binance": (Question(path="api/v3/time"), Question(path=_CHECKSUM)),
    "coinbase": (Question(path="time"),),
}
"""One for each line of a provider with its own kind of answers."""
