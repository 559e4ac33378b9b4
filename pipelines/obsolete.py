"""Dead letters whose work no longer exists, and why.

Here: what the catalogue, the calendar and the jobs show. Not here: instruments that carry no
ticker any more (usecases/load_plan.py: the run sees that), or how the letters end (retries.py,
replays.py).

A letter is kept for months. Since then an override may have closed its session, its dataset or
provider may have left the catalogue, or its job or partition may have been removed.
"""

from dataclasses import replace

import dagster as dg

from assets.archive import ARCHIVES
from assets.datasets import BY_SESSION, BY_SYMBOL
from assets.partitions import TRADING_DAYS
from marketdata.calendars import calendar
from marketdata.datasets import DATASETS, RequestScope
from marketdata.recovery.dead_letters import Work
from pipelines import jobs
from pipelines.run_failures import PARTITION_TAG, RANGE_TAGS
from resources.storage.letters import StoredLetter

PARTITIONS = {
    jobs.OF_LOADER[asset.key]: asset.partitions_def
    for asset in (*BY_SESSION.values(), *ARCHIVES.values(), *BY_SYMBOL.values())
    # A ticker's partition is never deleted.
    if not isinstance(asset.partitions_def, dg.DynamicPartitionsDefinition)
}
"""Partitions of jobs whose keys can disappear, by the job's name."""


def why_obsolete(letter: StoredLetter) -> str:
    """Return why the work of a letter no longer exists; empty if it does exist."""
    try:
        return _of_run(letter) if letter.work is Work.RUN else _of_question(letter)
    except (KeyError, TypeError, ValueError) as error:
        return f"the letter cannot be read any more ({type(error).__name__}: {error})"


def without_gone_partitions(letter: StoredLetter) -> StoredLetter:
    """Return the letter; a run's range of partitions loses the keys at its ends that have gone."""
    if letter.work is not Work.RUN or RANGE_TAGS[0] not in letter.details["tags"]:
        return letter
    keys = _keys_in_range(letter)
    if not keys:
        return letter
    tags = {**letter.details["tags"], **dict(zip(RANGE_TAGS, (keys[0], keys[-1]), strict=True))}
    return replace(letter, details={**letter.details, "tags": tags})


def _of_question(letter: StoredLetter) -> str:
    """Return why a provider can no longer be asked for a letter's data; empty if it can."""
    name = letter.dataset
    if name not in DATASETS:
        return f"there is no dataset {name} any more"
    if letter.provider not in DATASETS[name].sources:
        return f"{letter.provider} does not serve {name} any more"
    if name in BY_SESSION and letter.work is Work.SESSION:
        return _of_session(letter.subject)
    if (
        DATASETS[name].request_scope is RequestScope.SESSIONS
        and letter.span
        and not calendar().sessions(*letter.span)
    ):
        first, last = letter.span
        return f"there is no session from {first} to {last} any more"
    return ""


def _of_session(day: str) -> str:
    if TRADING_DAYS.has_partition_key(day):
        return ""
    return f"{day} is no session any more: the calendar and its overrides say that it was closed"


def _of_run(letter: StoredLetter) -> str:
    job, tags = str(letter.details["job"]), letter.details["tags"]
    if not isinstance(letter.details["ops"], dict) or job not in {
        known_job.name for known_job in jobs.ALL
    }:
        return f"there is no job {job!r} any more"
    partitions = PARTITIONS.get(job)
    if partitions is None:
        return ""
    key = tags.get(PARTITION_TAG)
    if key is not None and not partitions.has_partition_key(key):
        return f"{job} has no partition {key} any more"
    if RANGE_TAGS[0] in tags and not _keys_in_range(letter):
        return (
            f"{job} has no partition from {tags[RANGE_TAGS[0]]} to {tags[RANGE_TAGS[1]]} any more"
        )
    return ""


def _keys_in_range(letter: StoredLetter) -> list[str]:
    """Return the existing partition keys of a run's range.

    For partitions by time: all keys within the range. For others: both ends, or none if one end
    has gone.
    """
    first, last = (letter.details["tags"][name] for name in RANGE_TAGS)
    partitions = PARTITIONS.get(letter.details["job"])
    if isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        return [key for key in partitions.get_partition_keys() if first <= key <= last]
    whole = partitions is None or all(map(partitions.has_partition_key, (first, last)))
    return [first, last] if whole else []
