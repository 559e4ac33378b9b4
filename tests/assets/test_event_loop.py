"""A step's event loop and the signals that end it, sent for real to this process."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import dagster as dg
import pytest

from assets.event_loop import in_event_loop

PATIENCE_S = 20.0
"""Time-out of a test that would wait for ever."""


def interrupted(source: AsyncGenerator[int]) -> list[int]:
    """Take what ``source`` yields as Dagster does, until the interruption comes through."""
    taken: list[int] = []

    def take() -> None:
        with dg.raise_execution_interrupts():
            for item in in_event_loop(source):
                taken.append(item)  # noqa: PERF402  # what came before the end counts

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        take()
    return taken


def terminate() -> None:
    """Send the signal to this very process."""
    os.kill(os.getpid(), signal.SIGTERM)


async def _in_a_task() -> None:
    """Receive the signal in a task that is not awaited."""
    terminate()
    await asyncio.sleep(0)


def in_a_task(waiting: asyncio.Future[None]) -> object:
    """Receive the signal while another task runs."""
    del waiting
    return asyncio.create_task(_in_a_task())


def in_a_callback(waiting: asyncio.Future[None]) -> object:
    """Receive the signal in a callback of the loop."""
    del waiting
    return asyncio.get_running_loop().call_soon(terminate)


def while_nothing_happens(waiting: asyncio.Future[None]) -> object:
    """Receive the signal from a thread, while the loop waits in its selector."""
    del waiting
    return asyncio.get_running_loop().run_in_executor(None, terminate)


@pytest.mark.parametrize("strike", [in_a_task, in_a_callback, while_nothing_happens])
def test_a_signal_ends_those_who_wait_wherever_the_program_is_just_then(
    strike: Callable[[asyncio.Future[None]], object],
) -> None:
    """Raised by a handler within another task, it would end that task unnoticed."""
    ended: list[str] = []

    async def source() -> AsyncGenerator[int]:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kept = strike(waiting)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await waiting
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        yield 1
        del kept

    assert interrupted(source()) == []
    assert ended == ["cancelled"]


def test_what_came_before_the_signal_has_been_yielded() -> None:
    """Only what was under way ends."""

    async def source() -> AsyncGenerator[int]:
        yield 1
        yield 2
        terminate()
        await asyncio.sleep(PATIENCE_S)

    assert interrupted(source()) == [1, 2]


def test_a_signal_that_comes_with_the_last_item_is_not_lost() -> None:
    """It is raised although nothing is left to cancel."""

    async def source() -> AsyncGenerator[int]:
        terminate()
        yield 1

    interrupted(source())


def test_after_the_loop_signals_are_handled_as_before() -> None:
    """Dagster's own handler is back between the items and at the end."""
    before = signal.getsignal(signal.SIGTERM)

    async def source() -> AsyncGenerator[int]:
        yield 1

    seen = [signal.getsignal(signal.SIGTERM) for _ in in_event_loop(source())]
    assert [*seen, signal.getsignal(signal.SIGTERM)] == [before, before]


def test_a_generator_that_is_left_early_ends_before_what_surrounds_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Closed with all others at once, it failed in one of five loads that a signal ended."""
    ended: list[int] = []

    @asynccontextmanager
    async def opened(level: int) -> AsyncGenerator[int]:
        try:
            yield level
        finally:
            await asyncio.sleep(0)
            ended.append(level)

    async def source() -> AsyncGenerator[int]:
        async with opened(1), opened(2), opened(3), opened(4):
            yield 0

    items = in_event_loop(source())
    assert next(items) == 0
    del items
    gc.collect()

    assert ended == [4, 3, 2, 1]
    assert not caplog.records
