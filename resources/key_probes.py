"""One authorised request to each provider: is the key accepted, and what does its plan allow?

Here: sending the probe of each line. Not here: probes, keys, addresses and limits
(provider_registry.py), a provider's errors (its wire.py), or the advice to a person
(pipelines/cli/diagnosis.py).

Each probe is one request, never repeated, charged to the budget that all processes share.
"""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from marketdata.recovery.leases import Holder
from marketdata.recovery.limits import Lane
from marketdata.recovery.policy import RequestRetry
from resources import clients
from resources.provider_registry import KeyProbe, Line
from resources.providers.budget import PacedBudget, RequestBudget
from resources.providers.http import HttpGetter
from resources.providers.leased_budget import LeasedBudget
from resources.settings import Settings
from resources.storage.request_leases import RequestLeases

ANSWER_WITHIN_S = 20.0
"""Including the wait for a permit: a spent or crowded budget is reported instead."""
ONCE = RequestRetry(attempts=1, total_s=10.0)


async def ask(settings: Settings, provider: str, leases: RequestLeases | None) -> tuple[str, ...]:
    """Ask a provider once over each line with a probe; return what the answers show of the plan.

    Args:
        settings: Keys, addresses and limits.
        provider: Its short name.
        leases: The shared budget; None if the database is unavailable: then this process paces
            itself.

    Raises:
        ConfigurationError: The key is not set, or the address is not one.
        ProviderError: The provider refuses, or does not answer; KeyRefusedError for its key.
    """
    return tuple(
        [
            await _answer(provider, line, line.probe, leases)
            for line in clients.lines(settings, provider)
            if line.probe
        ]
    )


async def _answer(provider: str, line: Line, probe: KeyProbe, leases: RequestLeases | None) -> str:
    path = probe.path.format(day=utc_now().date() - timedelta(days=7))
    async with AsyncExitStack() as stack:
        getter = await stack.enter_async_context(
            HttpGetter(
                provider=provider,
                base_url=line.base_url,
                key=line.key,
                budget=await _budget(provider, line, leases, stack),
                retry=ONCE,
                classify=probe.classify or line.classify,
                in_flight=1,
            )
        )
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await getter.get(path, probe.parameters, operation=path)
        except TimeoutError:
            message = f"no permit of its budget within {ANSWER_WITHIN_S:g} s: others use it"
            raise errors.BudgetSpentError(
                message, provider=provider, operation=path, retry_after_s=ANSWER_WITHIN_S
            ) from None
    return probe.plan(answer)


async def _budget(
    provider: str, line: Line, leases: RequestLeases | None, stack: AsyncExitStack
) -> RequestBudget:
    if leases is None:
        return PacedBudget(*line.limits)
    return await stack.enter_async_context(
        LeasedBudget(
            leases=leases,
            limits=line.limits,
            provider=provider,
            lane=Lane.SCHEDULED,
            holder=Holder.this_process("wrdata doctor"),
        )
    )
