"""An event loop for one step: asynchronous work behind a Dagster asset that is a plain generator.

Here: driving an asynchronous generator to its end, or to a clean stop. Not here: its work.

Dagster runs asynchronous assets itself, but when a run is interrupted it leaves their tasks and
connections open. Here tasks are cancelled, connections are closed, and a batch on its way into the
database is finished before the interruption goes on.

Dagster interrupts by an exception that its signal handler raises at any point of the program.
Within a loop that may be any task or callback: it would end silently, and tasks that wait for it
would wait for ever. So while the loop runs, the loop takes the signals: they cancel the step's own
task, and the earlier handler gets them once that task has ended.
"""

import asyncio
import signal
import threading
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

Item = TypeVar("Item")
Handler = Callable[[int, FrameType | None], Any]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def in_event_loop(source: AsyncGenerator[Item]) -> Iterator[Item]:
    """Yield the items of ``source``; however this ends, ``source`` is closed in its own loop.

    It is closed before the loop is, which would close all generators at once: a context manager of
    ``source`` could end before what it surrounds.
    """

    async def following() -> Item:
        return await anext(source)

    with asyncio.Runner() as runner:
        try:
            while True:
                try:
                    item = _run(runner, following())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            _run(runner, source.aclose())


def _run(runner: asyncio.Runner, work: Coroutine[Any, Any, Item]) -> Item:
    """Run ``work``; a signal meanwhile cancels it and then goes to its earlier handler."""
    loop, handlers = runner.get_loop(), _handlers()
    working: list[asyncio.Task[Any]] = []

    def cancel() -> None:
        for task in working:
            task.cancel()

    async def cancellable() -> Item:
        if task := asyncio.current_task():
            working.append(task)
        return await work

    with _received(handlers, lambda: loop.call_soon_threadsafe(cancel)) as received:
        outcome = _outcome(runner, cancellable())
    # Signals that came meanwhile are passed on, whether the work succeeded or not.
    for number in received:
        handlers[number](number, None)
    return outcome()


def _outcome(runner: asyncio.Runner, work: Coroutine[Any, Any, Item]) -> Callable[[], Item]:
    """Run ``work``; return a function that returns its result or raises its error."""
    try:
        item = runner.run(work)
    except BaseException as error:  # noqa: BLE001  # raised again by the returned function
        ended = error
    else:
        return lambda: item

    def raise_again() -> Item:
        raise ended

    return raise_again


@contextmanager
def _received(
    handlers: Mapping[int, Handler], react: Callable[[], object]
) -> Generator[Sequence[int]]:
    """Call ``react`` at each signal within the block; yield the list of received signals."""
    received: list[int] = []

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        react()

    for number in handlers:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _handlers() -> dict[int, Handler]:
    """Return the present signal handlers; none in other threads, which get no signals."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {int(number): signal.getsignal(number) for number in _SIGNALS}
    return {number: handler for number, handler in handlers.items() if callable(handler)}
