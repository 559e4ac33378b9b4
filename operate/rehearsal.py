"""A rehearsal from the first break to the drill, with its times.

Here: the order of steps, and what is wrong. Not here: the breaks (breaks.py), or the table
(__main__.py).

Between two breaks nothing may fire: an alert that stays would hide the next one.
"""

import re
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from machine.processes import wait_until
from marketdata.recovery import errors
from monitoring.alerts import GROUPS
from operate.breaks import Break, Walk
from operate.place import PROJECT, Place
from operate.watchers import Message, Watch

FIRES_WITHIN_S = 240.0
CLEARS_WITHIN_S = 240.0
QUIET_WITHIN_S = 90.0
RTO_AT_MOST_S, RPO_AT_MOST_S = 900.0, 300.0
DRILL = "restore_drill"


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of one break, or of the drill.

    Attributes:
        alert: The alert that had to fire.
        fired_after_s: From the break to the message.
        cleared_after_s: From the repair's begin to the message that all is well.
        waits_s: How long production's alert waits before it fires, beyond the time here.
        first_step: What the person is told to do.
        runbook: The page that the person is sent to.
        others: Further alerts of which the person was told meanwhile.
        wrong: A sentence for each finding; empty means passed.
    """

    title: str
    alert: str
    fired_after_s: float | None = None
    cleared_after_s: float | None = None
    waits_s: float = 0.0
    first_step: str = ""
    runbook: str = ""
    others: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])


@dataclass(slots=True, kw_only=True)
class Drill:
    """What the restore drill measured; its figures as the exporter shows them."""

    status: str = ""
    rto_s: float | None = None
    rpo_s: float | None = None
    audit_rows_lost: float | None = None
    tables: int = 0
    rows: int = 0
    wrong: list[str] = field(default_factory=list[str])


@dataclass(slots=True, kw_only=True)
class Rehearsal:
    """All breaks and walks, and the drill unless it was left out.

    Attributes:
        walks: What is wrong with each page, by its title; empty means that it holds.
    """

    breaks: list[Result] = field(default_factory=list[Result])
    walks: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    drill: Drill | None = None

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        parts = [*self.breaks, *([self.drill] if self.drill else [])]
        return any(part.wrong for part in parts) or any(self.walks.values())


def play(broken: Break, place: Place, watch: Watch) -> Result:
    """Break, wait for the alert, repair, wait until it clears."""
    result = Result(title=broken.title, alert=broken.alert)
    rule = next(rule for rules in GROUPS.values() for rule in rules if rule.name == broken.alert)
    result.waits_s = rule.lasts.total_seconds()
    with _findings(result.wrong):
        _require_quiet(watch, but=broken.alert if broken.from_the_start else None)
        began = time.monotonic()
        since = 0.0 if broken.from_the_start else began
        broken.breaks(place)
        fired = watch.await_message(broken.alert, firing=True, since=since, within_s=FIRES_WITHIN_S)
        if fired is None:
            raise errors.ConfigurationError(f"{broken.alert} did not fire; {watch.firing()} do")
        result.fired_after_s = max(fired.at - began, 0.0)
        result.first_step = fired.annotations["first_step"]
        result.runbook = fired.annotations["runbook"]
        result.wrong += _missing_cure(fired)
        repaired = time.monotonic()
        broken.repairs(place)
        cleared = watch.await_message(
            broken.alert, firing=False, since=repaired, within_s=CLEARS_WITHIN_S
        )
        if cleared is None:
            raise errors.ConfigurationError(f"{broken.alert} did not clear after the repair")
        result.cleared_after_s = cleared.at - repaired
        result.others = sorted(
            {
                message.alert
                for message in watch.messages
                if message.firing and began <= message.at and message.alert != broken.alert
            }
        )
    return result


def walk(page: Walk, place: Place) -> list[str]:
    """Walk through a page; return what is wrong with it."""
    wrong: list[str] = []
    with _findings(wrong):
        page.walk(place)
    return wrong


def drill(place: Place, watch: Watch) -> Drill:
    """Let Dagster carry out the restore drill, and read what it published."""
    result = Drill()
    with _findings(result.wrong):
        _require_quiet(watch)
        run_id = place.launch(DRILL)
        result.status = place.await_end(run_id)
        if result.status != "SUCCESS":
            raise errors.ConfigurationError(f"the drill's run {run_id} ended as {result.status}")
        [(result.tables, result.rows)] = place.rows(
            "select tables_compared, rows_compared from restore_drill"
            " order by restore_drill_id desc limit 1"
        )
        result.rto_s = _figure(watch, "wrdata_restore_drill_rto_seconds")
        result.rpo_s = _figure(watch, "wrdata_restore_drill_rpo_seconds")
        result.audit_rows_lost = _figure(watch, "wrdata_restore_drill_audit_rows_lost")
        if result.rto_s > RTO_AT_MOST_S:
            result.wrong.append(f"the restore took {result.rto_s:.0f} s")
        if result.rpo_s > RPO_AT_MOST_S:
            result.wrong.append(f"{result.rpo_s:.0f} s of loads would have been lost")
        if result.audit_rows_lost:
            result.wrong.append(
                f"{result.audit_rows_lost:.0f} rows of the audit log would have been lost"
            )
        _require_quiet(watch)
    return result


@contextmanager
def _findings(wrong: list[str]) -> Generator[None]:
    """Turn what cannot go on into a finding."""
    try:
        yield
    except errors.MarketDataError as error:
        wrong.append(str(error))


def _require_quiet(watch: Watch, *, but: str | None = None) -> None:
    """Wait until no alert fires or is about to, ``but`` one.

    Raises:
        ConfigurationError: One still does; the text names it.
    """
    if not wait_until(lambda: set(watch.firing()) <= {but}, within_s=QUIET_WITHIN_S, every_s=0.5):
        raise errors.ConfigurationError(f"{', '.join(watch.firing())} still fire")


def _missing_cure(message: Message) -> Iterable[str]:
    """Yield what is wrong with the cure that a message names."""
    if not message.annotations["first_step"]:
        yield f"{message.alert} names no first step"
    page, _, anchor = message.annotations["runbook"].partition("#")
    text = (PROJECT / page).read_text() if (PROJECT / page).is_file() else ""
    headings = {_anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    if anchor not in headings:
        yield f"{message.alert} names {page}#{anchor}, which is not there"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _figure(watch: Watch, metric: str) -> float:
    """Return a figure as soon as Prometheus has it.

    Raises:
        ConfigurationError: It does not come.
    """
    answer: list[Any] = []

    def is_there() -> bool:
        answer[:] = watch.ask(metric)
        return bool(answer)

    if not wait_until(is_there, within_s=60, every_s=0.5):
        raise errors.ConfigurationError(f"the exporter does not show {metric}")
    return float(answer[0]["value"][1])
