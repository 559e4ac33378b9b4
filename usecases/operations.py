"""Operations in Dagster's UI: who did what, to what, when and from where.

Here: one operation, and its line in the log that the web servers write. Not here: noting one while
it is carried out (pipelines/webserver.py), or the audit log.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

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

    @property
    def is_launch(self) -> bool:
        """Whether it made a run, which carries its user as a tag."""
        return self.what in LAUNCHES and self.outcome in LAUNCHED

    def line(self) -> str:
        """Return the operation as one line of JSON, without its end."""
        return json.dumps({**asdict(self), "at": self.at.isoformat()}, ensure_ascii=False)
