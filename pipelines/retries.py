"""From dead letters to the runs that do their work again, and how their claims end.

Here: the job and configuration of each claim, and how claims end; used by the sensor and by
`wrdata dlq`. Not here: the letters themselves (resources/storage/letters), or which run failures
post one (run_failures.py).

The loader settles the letters of instruments, bad rows and sessions in the transaction of the
answer. This module ends claims whose run has ended without settling a letter.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import dagster as dg

from assets.datasets import REFRESHES, LoadRunConfig
from marketdata.calendars import utc_now
from marketdata.datasets import DATASETS, Dataset
from marketdata.recovery.dead_letters import LETTER_RETRY, Work
from pipelines import jobs
from pipelines.obsolete import why_obsolete, without_gone_partitions
from pipelines.run_failures import (
    CLAIM_TAG,
    PARTITION_TAG,
    RANGE_TAGS,
    failure_of,
    is_undecided,
    utc,
    will_be_retried,
)
from resources.storage.letters import Claim, DeadLetters, StoredLetter
from resources.telemetry.context import CORRELATION_TAG

TICKERS_PER_RUN = 500
DUE_PER_TICK = 1_000
LAUNCH_HOLD_S = 180.0
"""Longer than the daemon takes from a sensor's request to the run in its storage."""
RUN_HOLD_S = 600.0

_DONE_BY_SUCCESS = (Work.SESSION, Work.RUN)
"""Work that is done if its run succeeds. A run over tickers may succeed without one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """One run that does the work of a claim's letters again.

    Attributes:
        ops: Run configuration of the job's ops.
        tags: Partitions and lane of the run.
    """

    claim: UUID
    job: str
    ops: Mapping[str, Any]
    tags: Mapping[str, str]
    letters: tuple[StoredLetter, ...]

    @property
    def partition(self) -> str | None:
        """The run's partition, if it has one."""
        return self.tags.get(PARTITION_TAG)

    @property
    def correlation_tags(self) -> Mapping[str, str]:
        """The tag of the work that failed, if all letters are of one; a run has one tag."""
        ids = {letter.correlation_id for letter in self.letters}
        followed_by = ids.pop() if len(ids) == 1 else None
        return {CORRELATION_TAG: followed_by} if followed_by else {}

    @property
    def partitions(self) -> tuple[str, str] | None:
        """First and last partition, if the run takes a range."""
        start, end = (self.tags.get(name) for name in RANGE_TAGS)
        return (start, end) if start and end else None

    def request(self, tags_of_tick: Mapping[str, str]) -> dg.RunRequest:
        """Return the sensor's run request; its key keeps Dagster from launching a claim twice.

        Args:
            tags_of_tick: Tags of every run that the tick asks for.
        """
        return dg.RunRequest(
            run_key=str(self.claim),
            job_name=self.job,
            run_config={"ops": dict(self.ops)} if self.ops else None,
            tags={
                **self.tags,
                **tags_of_tick,
                **self.correlation_tags,
                CLAIM_TAG: str(self.claim),
            },
        )


def claim_due(letters: DeadLetters, by: str) -> list[Retry]:
    """Claim due letters and return the runs that do their work."""
    return _retries(
        letters,
        letters.claim_due(limit=DUE_PER_TICK, batch=TICKERS_PER_RUN, by=by, hold_s=LAUNCH_HOLD_S),
        by,
    )


def claim(letters: DeadLetters, letter_ids: Sequence[int], by: str) -> list[Retry]:
    """Claim letters for a person, due or not, and return the runs that do their work."""
    return _retries(
        letters,
        letters.claim(letter_ids, batch=TICKERS_PER_RUN, by=by, hold_s=LAUNCH_HOLD_S),
        by,
    )


def _retries(letters: DeadLetters, claimed: Sequence[StoredLetter], by: str) -> list[Retry]:
    """Return a run for each claim with work left; end letters whose work no longer exists.

    One letter that cannot be run must not stop a thousand others.
    """
    reasons = {letter.letter_id: why_obsolete(letter) for letter in claimed}
    obsolete = {letter_id: reason for letter_id, reason in reasons.items() if reason}
    letters.end_obsolete(obsolete, by=by)
    return retries_of(
        [without_gone_partitions(letter) for letter in claimed if letter.letter_id not in obsolete]
    )


def retries_of(claimed: Sequence[StoredLetter]) -> list[Retry]:
    """Return the run of each claim that ``claimed`` letters hold."""
    by_claim = sorted(
        (letter for letter in claimed if letter.claim is not None),
        key=lambda letter: (str(letter.claim), letter.letter_id),
    )
    return [
        _retry(claim, tuple(group))
        for claim, group in itertools.groupby(by_claim, key=lambda letter: letter.claim)
        if claim is not None
    ]


def _retry(claim: UUID, letters: tuple[StoredLetter, ...]) -> Retry:
    first = letters[0]
    if first.work is Work.RUN:
        job = str(first.details["job"])
        ops, tags = first.details["ops"], first.details["tags"]
    elif first.work is Work.SESSION and first.dataset in jobs.BY_SESSION_JOBS:
        job, ops = jobs.BY_SESSION_JOBS[first.dataset].name, {}
        tags = {PARTITION_TAG: first.subject}
    else:
        job, tags = first.dataset, {}
        ops = _of_dataset(DATASETS[first.dataset], letters)
    return Retry(claim=claim, job=job, ops=ops, tags=tags, letters=letters)


def _of_dataset(dataset: Dataset, letters: Sequence[StoredLetter]) -> dict[str, Any]:
    """Return the run config that asks for the data of a dataset's letters."""
    first = letters[0]
    provider = first.provider or ""
    if first.work is Work.SESSION:
        start = first.span[0].isoformat() if first.span else ""
        config = LoadRunConfig(provider=provider, bulk_refresh=True, start=start)
    else:
        config = LoadRunConfig(provider=provider, letters=[letter.letter_id for letter in letters])
    name = REFRESHES[dataset.name].node_def.name
    return {name: {"config": config.model_dump(exclude_unset=True)}}


def settle_ended(instance: dg.DagsterInstance, letters: DeadLetters, by: str) -> None:
    """End the claims whose runs have ended, and extend those whose runs wait or work.

    A claim without a run is left alone until it expires: its run is about to be launched, or a
    command works on it. An expired one is given back: its letters keep their state.
    """
    held_claims = letters.claims()
    runs = _latest_runs(instance, [claimed.claim for claimed in held_claims])
    under_way: list[UUID] = []
    for claimed in held_claims:
        record = runs.get(str(claimed.claim))
        if record is None:
            _give_back_expired(letters, claimed, by)
        elif _is_under_way(instance, record):
            under_way.append(claimed.claim)
        else:
            _end(instance, letters, claimed.claim, record.dagster_run, by)
    if under_way:
        letters.extend(under_way, hold_s=RUN_HOLD_S)


def _is_under_way(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    run, ended_at = record.dagster_run, utc(record.end_time or 0.0)
    return (
        not run.is_finished
        or will_be_retried(run)
        or is_undecided(instance, run, ended_at, utc_now())
    )


def _latest_runs(
    instance: dg.DagsterInstance, claims: Sequence[UUID]
) -> Mapping[str, dg.RunRecord]:
    if not claims:
        return {}
    run_filter = dg.RunsFilter(tags={CLAIM_TAG: [str(claim) for claim in claims]})
    # Newest first: a run that Dagster itself repeats carries the tags of the first one.
    records = reversed(instance.get_run_records(run_filter))
    return {record.dagster_run.tags[CLAIM_TAG]: record for record in records}


def _give_back_expired(letters: DeadLetters, held: Claim, by: str) -> None:
    if held.expired:
        reason = f"no run was started for the claim of {held.claimed_by}"
        letters.give_back(held.claim, by=by, reason=reason)


def _end(
    instance: dg.DagsterInstance,
    letters: DeadLetters,
    claim: UUID,
    run: dg.DagsterRun,
    by: str,
) -> None:
    if run.is_success:
        end_succeeded(letters, claim, run.run_id, by)
        return
    why = failure_of(instance, run).message if run.is_failure else "it was canceled"
    letters.fail(claim, retry=LETTER_RETRY, by=by, reason=f"run {run.run_id}: {why}")


def end_succeeded(letters: DeadLetters, claim: UUID, run_id: str, by: str) -> None:
    """End a claim whose run succeeded.

    Letters about sessions and runs are resolved by that. Others that the run left in the claim have
    failed again.
    """
    letters.resolve(claim, works=_DONE_BY_SUCCESS, by=by, reason=f"run {run_id} has done the work")
    letters.fail(
        claim,
        retry=LETTER_RETRY,
        by=by,
        reason=f"run {run_id} succeeded, but had no answer for this letter",
    )
