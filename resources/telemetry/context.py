"""What the work at hand is: the run, the dataset, the provider, and the id that follows it.

Here: fields that hold for a stretch of work, across its tasks and threads. Not here: how they are
shown (logs.py, traces.py, reports.py), or who sets them (pipelines/observation.py).

Only the standard library: what stores and clients import, a reader's installation and
`wrdata --help` import too.
"""

import os
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

CORRELATION_VARIABLE = "WRDATA_CORRELATION_ID"
"""Environment variable by which a caller hands its id to a command."""
CORRELATION_ID = "correlation_id"
"""Name of the field that names one piece of work, from its start to the archive."""
CORRELATION_TAG = "wrdata/correlation_id"
"""A run's tag for the id of the work that it belongs to."""
_ROOT_TAG = "dagster/root_run_id"
"""Dagster's tag on a run that it repeats: the first one."""
LONGEST_ID = 200
"""Characters of an id that are kept."""

_FIELDS: ContextVar[Mapping[str, object]] = ContextVar("wrdata_fields")


@contextmanager
def bound(**fields: object) -> Generator[None]:
    """Let ``fields`` hold within the block, beside those that hold already; None leaves one out."""
    before = current()
    _FIELDS.set({**before, **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        # Not by a token: a generator may be closed in another context than it was begun in.
        _FIELDS.set(before)


def current() -> Mapping[str, object]:
    """Return the fields that hold now."""
    return _FIELDS.get({})


def correlation_id() -> str | None:
    """Return the id of the work at hand; None outside of any work."""
    held = current().get(CORRELATION_ID)
    return str(held) if held else None


def correlation_id_of_run(run_id: str, tags: Mapping[str, str]) -> str:
    """Return the id of the work that a run belongs to.

    A run without the tag, such as one that the UI has launched, is the beginning of its own work:
    then it is the id of the first run of its retries.
    """
    return tags.get(CORRELATION_TAG) or tags.get(_ROOT_TAG) or run_id


def new_correlation_id() -> str:
    """Return an id that nothing else has: 32 hex digits."""
    return uuid.uuid4().hex


def given_correlation_id() -> str:
    """Return the id that the caller of this process has handed over, or a new one."""
    handed_over = "".join(filter(str.isprintable, os.environ.get(CORRELATION_VARIABLE, "")))
    return handed_over.strip()[:LONGEST_ID] or new_correlation_id()
