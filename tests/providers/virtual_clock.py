"""Runs coroutines in an event loop whose clock jumps instead of waiting.

Sockets are real: the clock jumps only while none of them has anything to say.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SOCKETS_GRACE_S = 0.002


class _JumpingSelector(selectors.DefaultSelector):
    """Waits a moment for sockets, then pretends that the whole time-out has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # The loop's own wake-up pipe is always registered; more than it means sockets.
        if timeout is None:
            return super().select(None)
        grace = min(timeout, _SOCKETS_GRACE_S) if len(self.get_map()) > 1 else 0.0
        ready = super().select(grace)
        self.now += 1e-9 if ready else max(timeout, 1e-9)
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour of sleep takes no time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def stall(self, for_s: float) -> None:
        """Let time pass in which the loop does nothing."""
        self._jumping.now += for_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end under a clock that jumps."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)
