"""What versions of TimescaleDB are known to do wrong with continuous aggregates.

Here: each fault with its versions, from TimescaleDB's own issues. Not here: what is done about it
(continuous_engine.py), or the report (`wrdata doctor`).
"""

from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFault:
    """One fault of an engine.

    Attributes:
        issue: Its number at github.com/timescale/timescaledb/issues.
        first: The first version that has it.
        mended: The first version that mends it; None while it is open.
        effect: What it does.
        avoided: The refreshes of this project are not affected.
    """

    issue: int
    first: Version
    mended: Version | None
    effect: str
    avoided: bool = False

    def __str__(self) -> str:
        """Return the effect, the issue, and the versions affected."""
        until = "still open" if self.mended is None else f"mended in {_dotted(self.mended)}"
        return (
            f"{self.effect} (TimescaleDB issue {self.issue}, since {_dotted(self.first)}, {until})"
        )

    def is_of(self, version: Version) -> bool:
        """Say whether ``version`` has the fault."""
        return self.first <= version and (self.mended is None or version < self.mended)


FAULTS = (
    KnownFault(
        issue=10296,
        first=(2, 25, 1),
        mended=None,
        effect="a refresh may lose the month, quarter or year that begins with the last changed "
        "day, unless it is forced, as those of wrdata are",
        avoided=True,
    ),
    KnownFault(
        issue=10219,
        first=(2, 28, 0),
        mended=(2, 29, 0),
        effect="a refresh whose end lies ahead of the data may leave the last bar out of date",
    ),
    KnownFault(
        issue=8621,
        first=(2, 22, 0),
        mended=(2, 22, 1),
        effect="a refresh may leave gaps",
    ),
)


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def numbers(version: str) -> Version:
    """Return the numbers of a version such as ``2.29.2``, or ``2.30.0-dev``, to compare by."""
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())


def known_faults(version: str) -> list[KnownFault]:
    """Return what a version of TimescaleDB is known to do wrong."""
    return [fault for fault in FAULTS if fault.is_of(numbers(version))]
