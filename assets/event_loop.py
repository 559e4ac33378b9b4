"""An event loop for one step: asynchronous work behind a Dagster asset that is a plain generator.

Here: driving an asynchronous generator to its end, or to a clean stop. Not here: what it does.

Dagster runs asynchronous assets itself, but when a run is interrupted it leaves their tasks and
connections where they are. Here they are cancelled and closed, and a batch that is on its way
into the database is finished, before the interruption goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def in_event_loop(source: AsyncIterator[Item]) -> Iterator[Item]:
    """Yield what ``source`` yields; however this ends, ``source`` is closed in its own loop."""

    async def following() -> Item:
        return await anext(source)

    with asyncio.Runner() as runner:
        while True:
            try:
                item = runner.run(following())
            except StopAsyncIteration:
                return
            yield item
