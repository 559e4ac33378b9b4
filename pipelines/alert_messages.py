"""What people are told about failed runs and parked letters.

Here: which failed runs are worth a message, and the texts. Not here: when they are sent
(alert_sensors.py), or how (resources/alert_webhook.py).
"""

import itertools
from collections.abc import Sequence

import dagster as dg

from pipelines.run_failures import (
    BY_COMMAND,
    CLAIM_TAG,
    INTERRUPTED,
    STARTED_BY,
    failure_of,
    job_of,
    will_be_retried,
)
from resources.storage.letters import ParkedLetter

NAMED = 3
"""How many letters of a kind a message names."""
KINDS = 10
"""How many kinds of letters a message lists."""


def about_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Return the message about a failed run, or None if it is not worth one.

    Not worth one is a run that Dagster repeats, one that a person stopped, and one that tries dead
    letters again: if those come to an end, they are parked, which has a message of its own.
    """
    if will_be_retried(run) or CLAIM_TAG in run.tags:
        return None
    failure = failure_of(instance, run)
    if failure.error_class == INTERRUPTED and run.tags.get(STARTED_BY) == BY_COMMAND:
        return None
    return "\n".join(
        [
            f"Run {job_of(run)} failed: {failure.error_class}: {failure.message}",
            f"First: open run {run.run_id} in Dagster's UI.",
            "Then: docs/runbooks/pipeline.md#runs-fail",
        ]
    )


def about_letters(letters: Sequence[ParkedLetter]) -> str:
    """Return one message about all letters that were parked, the largest kinds first."""
    by_kind = sorted(letters, key=lambda letter: (_kind(letter), letter.subject))
    kinds = [list(group) for _, group in itertools.groupby(by_kind, key=_kind)]
    kinds.sort(key=len, reverse=True)
    lines = [_line(kind) for kind in kinds[:KINDS]]
    if len(kinds) > KINDS:
        lines.append(f"- and {len(kinds) - KINDS} further kinds")
    count = "1 dead letter waits" if len(letters) == 1 else f"{len(letters)} dead letters wait"
    return "\n".join(
        [
            f"{count} for a person: no machine tries again.",
            *lines,
            "First: wrdata dlq list --state parked",
            "Then: docs/runbooks/pipeline.md#letters-pile-up",
        ]
    )


def _kind(letter: ParkedLetter) -> tuple[str, str]:
    return letter.dataset, letter.error_class


def _line(letters: Sequence[ParkedLetter]) -> str:
    dataset, error_class = _kind(letters[0])
    names = ", ".join(letter.subject for letter in letters[:NAMED])
    more = f" and {len(letters) - NAMED} more" if len(letters) > NAMED else ""
    return f"- {len(letters)} of {dataset}, {error_class}: {names}{more}"
