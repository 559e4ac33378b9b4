"""wrdata dlq …: dead letters: list, show, retry, replay, discard and export them.

Here: the commands. Not here: the rules of letters (marketdata/recovery/dead_letters.py), or the
runs that do their work again (pipelines/retries.py).
"""

import asyncio
import csv
import dataclasses
import io
import json as jsonlib
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TextIO, cast
from uuid import UUID

import dagster as dg
import typer

from machine.person import user_at_host
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LETTER_RETRY, UNSETTLED, LetterState, Work
from pipelines import replays, retries
from pipelines.cli import console, environment, loads, result_files, runs
from pipelines.cli.load_options import known_dataset
from pipelines.definitions import definitions
from pipelines.jobs import derived_job
from pipelines.retries import Retry
from pipelines.run_failures import CLAIM_TAG
from resources import opening
from resources.opening import Stores
from resources.settings import read_settings
from resources.storage.letters import DeadLetters, LetterFilter, StoredLetter

RETRIABLE = (LetterState.OPEN, LetterState.PARKED)
ENDED = (LetterState.RESOLVED, LetterState.OBSOLETE)
EXTEND_EVERY_S = 30.0
NAMED = 3
"""How many letters the announcement of a run names."""
MESSAGE_SHOWN = 90
"""Characters of a message in a table; `show` and `--json` print all of it."""

SHORT_ROW = ("id", "state", "dataset", "subject", "tried", "reason")
"""Columns shown without --wide: they fit a terminal of 80 columns."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
_LARGEST_ID = 2**63 - 1
_IDS = typer.Argument(help="Ids of letters, from `wrdata dlq list`.", min=1, max=_LARGEST_ID)
Ids = Annotated[list[int], _IDS]
SomeIds = Annotated[list[int] | None, _IDS]
States = Annotated[
    list[LetterState] | None,
    typer.Option("--state", help="Letters in this state; may be repeated. Default: unsettled."),
]


def _known_dataset(name: str | None) -> str | None:
    """Accept a dataset, or the job of a lost run."""
    jobs = [job.name for job in definitions.resolve_all_job_defs()]
    return name if name is None or name in jobs else known_dataset(name)


DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", help="Letters of this dataset.", callback=_known_dataset),
]
ErrorClass = Annotated[
    str | None, typer.Option("--error", help="Letters with this error, such as RateLimitedError.")
]
Ticker = Annotated[str | None, typer.Option("--ticker", help="Letters about this ticker.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")]


def list_letters(
    *,
    state: States = None,
    dataset: DatasetName = None,
    error: ErrorClass = None,
    ticker: Ticker = None,
    limit: Annotated[int, typer.Option(min=1, help="Most letters to list.")] = 50,
    wide: Annotated[bool, typer.Option("--wide", help="Show every column.")] = False,
    json: Json = False,
) -> None:
    """List letters, the latest seen first: open, retrying and parked ones unless --state."""
    environment.enter(environment.surroundings(writes=False), start=False)
    letter_filter = _filter(state or UNSETTLED, dataset, error, ticker)
    with opening.stores(read_settings()) as stores:
        letters = stores.dead_letters.find(letter_filter, limit=limit)
    if json:
        console.print_json([_as_json(letter) for letter in letters])
        return
    rows = [_as_row(letter) for letter in letters]
    shown = rows if wide else [{name: row[name] for name in SHORT_ROW} for row in rows]
    console.print_table("", shown, by=("id",))
    if not letters:
        console.say(
            "no letter waits"
            if letter_filter == _filter(UNSETTLED, None, None, None)
            else "no such letter"
        )
    elif len(letters) == limit:
        console.say(f"the latest {limit}; --limit shows more")


def show(letter_id: Annotated[int, typer.Argument(metavar="ID")], *, json: Json = False) -> None:
    """Show one letter in full: the question, the error, and every change of state since."""
    environment.enter(environment.surroundings(writes=False), start=False)
    with opening.stores(read_settings()) as stores:
        letter = _stored_letters(stores.dead_letters, [letter_id])[0]
        steps = [
            {
                "at": step.at.isoformat(timespec="seconds"),
                "from": step.from_state.value if step.from_state else "",
                "to": step.to_state.value,
                "by": step.by,
                "attempts": step.attempts,
                "reason": step.reason,
            }
            for step in stores.dead_letters.transitions(letter_id)
        ]
    if json:
        console.print_json({**_as_json(letter), "transitions": steps})
        return
    for name, value in _as_json(letter).items():
        text = jsonlib.dumps(value) if isinstance(value, dict | list) else value
        if value not in (None, [], {}):
            console.out.print(f"{name.replace('_', ' '):18}{text}", markup=False)
    console.print_table("transitions", steps)
    cure = _cure(letter)
    if cure:
        console.say(cure)


def retry(
    ids: SomeIds = None,
    *,
    state: States = None,
    dataset: DatasetName = None,
    error: ErrorClass = None,
    ticker: Ticker = None,
    every: Annotated[bool, typer.Option("--all", help="Every open or parked letter.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Do the work of letters again, now and in this process; parked letters too.

    Choose letters by IDS, by the filters of `list`, or by --all. A letter that fails does not stop
    the others. Exits with 1 if any work is left.
    """
    if bool(ids) + any((state, dataset, error, ticker)) + every != 1:
        message = "say which letters: IDS, or filters such as --dataset and --error, or --all"
        raise typer.BadParameter(message)
    surroundings = environment.surroundings()
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    with opening.stores(read_settings()) as stores:
        letters = stores.dead_letters
        with runs.open_instance() as instance:
            retries.settle_ended(instance, letters, user_at_host())
        if ids:
            chosen = _stored_letters(letters, ids)
            _require_free(chosen)
        else:
            chosen = letters.find(_filter(state or RETRIABLE, dataset, error, ticker))
            chosen = [letter for letter in chosen if letter.state in RETRIABLE]
        if dry_run or not chosen:
            would = f"{len(chosen)} letters would be tried again"
            _print_letters(
                chosen, would if chosen else "no such letter is open or parked", json=json
            )
            return 0
        _run_all(stores, [letter.letter_id for letter in chosen])
        after = letters.by_id([letter.letter_id for letter in chosen])
    return _print_ended(after, json=json)


def discard(
    ids: Ids,
    *,
    reason: Annotated[str, typer.Option(help="Why the work is given up; stored with the letter.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Give up the work of letters, for good; the letters stay on record."""
    if not reason.strip():
        message = "--reason says why the work is given up; it is kept with the letter"
        raise typer.BadParameter(message)
    environment.enter(environment.surroundings(writes=False), start=False)
    with opening.stores(read_settings()) as stores:
        chosen = _stored_letters(stores.dead_letters, ids)
        _require_free(chosen)
        if dry_run:
            _print_letters(chosen, f"{len(chosen)} letters would be discarded", json=json)
            return 0
        done = stores.dead_letters.discard(ids, by=user_at_host(), reason=reason.strip())
        after = stores.dead_letters.by_id(ids)
    _print_letters(after, f"{len(done)} of {len(after)} letters discarded", json=json)
    return 0 if len(done) == len(after) else 1


def export(
    *,
    state: States = None,
    dataset: DatasetName = None,
    error: ErrorClass = None,
    ticker: Ticker = None,
    output: Annotated[
        Path | None, typer.Option(help="File; default standard output.", dir_okay=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines instead of CSV.")] = False,
) -> None:
    """Write letters with all fields, as CSV or JSON lines; in any state unless --state."""
    environment.enter(environment.surroundings(writes=False), start=False)
    letter_filter = _filter(state or (), dataset, error, ticker)
    with opening.stores(read_settings()) as stores, _opened(output) as file:
        exported = _write(file, stores.dead_letters.export(letter_filter), json=json)
    if output:
        console.say(f"{exported} letters written to {output}")


def replay(ids: Ids, *, json: Json = False) -> int:
    """Read the kept answers of letters again, without a request: after a parser was fixed.

    Exits with 1 if any letter is not resolved.
    """
    surroundings = environment.surroundings()
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    settings = read_settings()
    with opening.stores(settings) as stores:
        chosen = _stored_letters(stores.dead_letters, ids)
        _require_free(chosen)
        failed = asyncio.run(
            replays.replay(stores, opening.raw_zone(settings).read, chosen, user_at_host())
        )
        after = stores.dead_letters.by_id(ids)
    if any(letter.state is LetterState.RESOLVED for letter in after):
        report = runs.run_job(derived_job.name)
        for why in loads.failures(report).values():
            console.fail(why)
    status = _print_ended(after, json=json)
    for letter_id, why in failed.items():
        console.fail(f"{letter_id}: {why}")
    return status


def _run_all(stores: Stores, letter_ids: Sequence[int]) -> None:
    """Claim the letters and execute the runs that do their work, one after the other."""
    by = user_at_host()
    waiting = retries.claim(stores.dead_letters, letter_ids, by)
    claims = [retry_run.claim for retry_run in waiting]
    try:
        for number, retry_run in enumerate(waiting, start=1):
            named = ", ".join(letter.subject for letter in retry_run.letters[:NAMED])
            left_out = len(retry_run.letters) - NAMED
            more = f" and {left_out} more" if left_out > 0 else ""
            console.say(f"run {number} of {len(waiting)}: {retry_run.job} for {named}{more}")
            try:
                _run(stores, retry_run, claims, by)
            except dg.DagsterError as error:
                # Dagster does not start it, for example because its configuration is outdated.
                why = f"{retry_run.job} cannot be run: {type(error).__name__}: {_first_line(error)}"
                console.fail(why)
                stores.dead_letters.fail(retry_run.claim, retry=LETTER_RETRY, by=by, reason=why)
            claims.remove(retry_run.claim)
    finally:
        # Ctrl-C, or an error here: letters that were not tried keep their state.
        for claim in claims:
            stores.dead_letters.give_back(claim, by=by, reason=f"{by} stopped before the end")


def _run(stores: Stores, retry_run: Retry, claims: Sequence[UUID], by: str) -> None:
    # A run that is repeated as a whole has a number of requests that is unknown here.
    whole_run = retry_run.letters[0].work is Work.RUN
    meter = console.Meter(retry_run.job, 0 if whole_run else len(retry_run.letters))
    with meter.shown():
        report = runs.run_job(
            retry_run.job,
            config=retry_run.ops,
            partition=retry_run.partition,
            partitions=retry_run.partitions,
            tags={**retry_run.correlation_tags, CLAIM_TAG: str(retry_run.claim)},
            progress=_holding(stores, meter, claims),
        )
    if report.success:
        retries.end_succeeded(stores.dead_letters, retry_run.claim, report.run_id, by)
        return
    why = next(iter(loads.failures(report).values()), "the run failed")
    stores.dead_letters.fail(
        retry_run.claim, retry=LETTER_RETRY, by=by, reason=f"run {report.run_id}: {why}"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _holding(
    stores: Stores, meter: console.Meter, claims: Sequence[UUID]
) -> Callable[[str, float], None]:
    """Return a progress function that extends the claims while runs last."""
    show, extended_at = loads.shown_on(meter, stores), time.monotonic()

    def show_progress(run_id: str, elapsed_s: float) -> None:
        nonlocal extended_at
        if time.monotonic() - extended_at > EXTEND_EVERY_S:
            stores.dead_letters.extend(claims, hold_s=retries.LAUNCH_HOLD_S)
            extended_at = time.monotonic()
        show(run_id, elapsed_s)

    return show_progress


def _filter(
    states: Sequence[LetterState], dataset: str | None, error: str | None, ticker: str | None
) -> LetterFilter:
    return LetterFilter(
        states=tuple(states),
        dataset=dataset,
        error_class=error,
        ticker=ticker.upper() if ticker else None,
    )


def _stored_letters(letters: DeadLetters, ids: Sequence[int]) -> list[StoredLetter]:
    """Return the letters of ``ids``.

    Raises:
        ArgumentError: There is no letter of one of these ids.
    """
    stored = letters.by_id(ids)
    unknown = sorted(set(ids) - {letter.letter_id for letter in stored})
    if unknown:
        listed = ", ".join(str(letter_id) for letter_id in unknown)
        message = f"there is no dead letter {listed}: `wrdata dlq list` shows them"
        raise errors.ArgumentError(message)
    return stored


def _require_free(letters: Sequence[StoredLetter]) -> None:
    """Refuse letters that are being retried, or that are settled.

    Raises:
        ConfigurationError: Names the first such letter.
    """
    for letter in letters:
        if letter.state is LetterState.RETRYING and letter.claimed_at is not None:
            message = (
                f"dead letter {letter.letter_id} is being retried by {letter.claimed_by} since "
                f"{_time(letter.claimed_at)}: wait until `wrdata dlq show {letter.letter_id}` "
                "says how it ended"
            )
            raise errors.ConfigurationError(message)
        if letter.state not in RETRIABLE:
            message = (
                f"dead letter {letter.letter_id} is {letter.state} ({letter.reason}): that is "
                "final; a new failure posts a new letter"
            )
            raise errors.ConfigurationError(message)


def _cure(letter: StoredLetter) -> str:
    """Return what a person can do about a letter."""
    again = f"wrdata dlq retry {letter.letter_id}"
    give_up = f"wrdata dlq discard {letter.letter_id} --reason …"
    if letter.state is LetterState.OPEN and letter.next_attempt_at is not None:
        return f"next attempt at {_time(letter.next_attempt_at)}; to retry now: {again}"
    if letter.state is LetterState.PARKED and letter.work is Work.RECORD:
        mended = f"wrdata dlq replay {letter.letter_id}"
        return f"waits for you: after a parser fix {mended}; to ask again {again}; or {give_up}"
    if letter.state is LetterState.PARKED:
        return f"waits for you: fix the cause, then {again}; or {give_up}"
    return ""


def _print_ended(letters: Sequence[StoredLetter], *, json: bool) -> int:
    """Print the outcome of letters, those with work left first; return the exit status."""
    unfinished = [letter for letter in letters if letter.state not in ENDED]
    obsolete = [letter for letter in letters if letter.state is LetterState.OBSOLETE]
    sentence = (
        f"{len(letters) - len(unfinished) - len(obsolete)} of {len(letters)} letters resolved"
    )
    if obsolete:
        sentence += f", {len(obsolete)} ended as obsolete: their work no longer exists"
    _print_letters([*unfinished, *obsolete] or letters, sentence, json=json)
    return 1 if unfinished else 0


def _print_letters(letters: Sequence[StoredLetter], sentence: str, *, json: bool) -> None:
    if json:
        console.print_json([_as_json(letter) for letter in letters])
    else:
        console.print_table("", [_as_row(letter) for letter in letters], by=("id",))
    console.say(sentence)


def _as_row(letter: StoredLetter) -> dict[str, console.Cell]:
    text = letter.reason
    return {
        "id": str(letter.letter_id),
        "state": letter.state.value,
        "dataset": letter.dataset,
        "work": letter.work.value,
        "subject": letter.subject,
        "error": letter.error_class,
        "tried": letter.attempts,
        "seen": letter.occurrences,
        "last_seen_at": _time(letter.last_seen_at),
        "next_attempt_at": _time(letter.next_attempt_at) if letter.next_attempt_at else "",
        "reason": text if len(text) <= MESSAGE_SHOWN else f"{text[: MESSAGE_SHOWN - 1]}…",
    }


def _as_json(letter: StoredLetter) -> dict[str, Any]:
    """Return all fields of a letter, as JSON takes them; times in ISO format, UTC."""
    return {field.name: _plain(getattr(letter, field.name)) for field in dataclasses.fields(letter)}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(part) for part in cast("tuple[object, ...]", value)]
    if isinstance(value, dict | int) or value is None:
        return cast("object", value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


@contextmanager
def _opened(output: Path | None) -> Generator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    with (
        result_files.written(output) as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True) as text,
    ):
        yield text


def _write(file: TextIO, letters: Iterator[StoredLetter], *, json: bool) -> int:
    """Write letters one by one and return how many."""
    written = 0
    names = [field.name for field in dataclasses.fields(StoredLetter)]
    table = csv.DictWriter(file, names)
    if not json:
        table.writeheader()
    for letter in letters:
        row = _as_json(letter)
        if json:
            file.write(jsonlib.dumps(row) + "\n")
        else:
            table.writerow(
                {
                    name: jsonlib.dumps(value) if isinstance(value, dict | list) else value
                    for name, value in row.items()
                }
            )
        written += 1
    return written
