"""Operations in Dagster's UI: who did what, to what, when and from where.

Here: one operation as a line of the log that the web servers write, and reading that log. Not here:
noting an operation while it is carried out (pipelines/webserver.py), or the audit log.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from marketdata.recovery import errors

LAUNCHES = frozenset(
    {
        "launchRun", "launchPipelineExecution", "launchMultipleRuns", "launchRunReexecution",
        "launchPipelineReexecution",
    }
)  # fmt: skip
"""Operations whose runs carry the user themselves, as a tag."""
LAUNCHED = frozenset({"LaunchRunSuccess", "LaunchMultipleRunsResult"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation that a user asked for.

    Attributes:
        at: When it ended (aware UTC).
        who: The user whom the proxy let in.
        address: The client's address, as the proxy saw it.
        what: The field of Dagster's GraphQL schema, such as ``terminateRun``.
        subject: To what it was done, such as ``run 1234`` or ``sensor lost_runs``; no
            configuration, which may hold anything.
        outcome: Dagster's type of the answer, such as ``TerminateRunSuccess`` or
            ``UnauthorizedError``; "done" where it has none.
    """

    at: datetime
    who: str
    address: str
    what: str
    subject: str
    outcome: str

    def line(self) -> str:
        """Return the operation as one line of JSON, without its end."""
        return json.dumps({**asdict(self), "at": self.at.isoformat()}, ensure_ascii=False)


def operations_of(lines: Iterable[str]) -> list[Operation]:
    """Return the operations of a log that no run tells of, for the audit log; in their order.

    Launches that succeeded are left out: their runs carry the user, and are found by that.

    Raises:
        ConfigurationError: A line is no operation; the text names its number.
    """
    return [
        operation
        for operation in every_operation(lines)
        if not (operation.what in LAUNCHES and operation.outcome in LAUNCHED)
    ]


def every_operation(lines: Iterable[str]) -> list[Operation]:
    """Return all operations of a log, launches too.

    Raises:
        ConfigurationError: A line is no operation; the text names its number.
    """
    return [_operation(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _operation(number: int, line: str) -> Operation:
    try:
        values: dict[str, Any] = json.loads(line)
        operation = Operation(at=datetime.fromisoformat(values.pop("at")), **values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.ConfigurationError(_changed(number)) from error
    if operation.at.tzinfo is None or not all(isinstance(text, str) for text in values.values()):
        raise errors.ConfigurationError(_changed(number))
    return operation


def _changed(number: int) -> str:
    return f"line {number} of the log of operations is no operation: find out who changed it"
