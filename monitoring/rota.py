"""Figures that cost too much to ask for all of them at each scrape.

Here: whose turn it is, within a time. Not here: what is asked (samples.py).
"""

import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Figure = TypeVar("_Figure")


class Rota(Generic[_Key, _Figure]):
    """Asks for a few of many figures at each scrape, the oldest first, and keeps the others.

    So a scrape of a small database has all of them fresh, and one of a large database costs no more
    than its share and the longest question.

    Args:
        share_s: Seconds of a scrape after which no further question is asked.
    """

    def __init__(self, share_s: float) -> None:
        self._share_s = share_s
        self._figures: dict[_Key, _Figure] = {}
        self._order: dict[_Key, int] = {}
        self._asked = 0

    def figures(self, keys: Sequence[_Key], ask: Callable[[_Key], _Figure]) -> dict[_Key, _Figure]:
        """Return the known figures of ``keys``, after asking for the oldest of them.

        What ``ask`` raises passes through; its key comes last the next time.
        """
        ends_at = time.monotonic() + self._share_s
        for key in sorted(keys, key=lambda key: self._order.get(key, 0)):
            self._asked += 1
            self._order[key] = self._asked
            self._figures[key] = ask(key)
            if time.monotonic() >= ends_at:
                break
        return {key: self._figures[key] for key in keys if key in self._figures}
