"""A rehearsal of operations: what passes, what is found wrong, and the disk that may be filled."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from machine.processes import NO_AUTHORITIES
from marketdata.recovery import errors
from monitoring.alerts import GROUPS
from operate import rehearsal
from operate.breaks import BREAKS, Break
from operate.place import Place
from operate.rehearsal import Rehearsal, Result
from operate.small_disk import SIZE_MB, small_disk
from operate.watchers import Message, Watch

ALERTS = {rule.name: rule for rules in GROUPS.values() for rule in rules}
NOWHERE = cast("Place", object())


class Told(Watch):
    """A watch without Prometheus: messages come from the break and its repair."""

    def tell(self, alert: str, *, firing: bool, runbook: str = "") -> None:
        """Let a message come now."""
        self.messages.append(
            Message(
                receiver="pagerduty",
                firing=firing,
                labels={"alertname": alert},
                annotations={
                    "first_step": ALERTS[alert].first_step,
                    "runbook": runbook or f"docs/runbooks/{ALERTS[alert].runbook}",
                },
                at=time.monotonic(),
            )
        )

    def firing(self) -> list[str]:
        """Return what was told of and not taken back."""
        last = {message.alert: message.firing for message in self.messages}
        return sorted(alert for alert, fires in last.items() if fires)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Plays a break of DatabaseDown; nobody waits longer than a moment."""
    for name in ("FIRES_WITHIN_S", "CLEARS_WITHIN_S", "QUIET_WITHIN_S"):
        monkeypatch.setattr(rehearsal, name, 0.3)

    def played(
        watch: Told, breaks: Callable[[Any], None], repairs: Callable[[Any], None]
    ) -> Result:
        broken = Break(title="x", alert="DatabaseDown", breaks=breaks, repairs=repairs)
        return rehearsal.play(broken, NOWHERE, watch)

    return played


def test_an_alert_that_comes_and_goes_passes_with_its_times(play: Callable[..., Result]) -> None:
    """And with what the person was told to do, and of what else."""
    watch = Told()

    def breaks(_: Place) -> None:
        watch.tell("DatabaseDown", firing=True)
        watch.tell("RunsFailed", firing=True)

    def repairs(_: Place) -> None:
        watch.tell("DatabaseDown", firing=False)

    result = play(watch, breaks, repairs)

    assert result.wrong == []
    assert result.fired_after_s is not None
    assert result.cleared_after_s is not None
    assert 0 <= result.fired_after_s < 1
    assert result.waits_s == 60
    assert result.first_step == ALERTS["DatabaseDown"].first_step
    assert result.others == ["RunsFailed"]


@pytest.mark.parametrize(
    ("fires", "clears", "before", "expected"),
    [
        (False, True, None, "DatabaseDown did not fire"),
        (True, False, None, "DatabaseDown did not clear"),
        (True, True, "DaemonDead", "DaemonDead still fire"),
    ],
)
def test_what_does_not_come_or_go_is_wrong(
    play: Callable[..., Result], *, fires: bool, clears: bool, before: str | None, expected: str
) -> None:
    """Also what an earlier break has left: it would hide the next alert."""
    watch = Told()
    if before:
        watch.tell(before, firing=True)

    def say(told: bool, firing: bool) -> Callable[[Place], None]:
        return lambda _: watch.tell("DatabaseDown", firing=firing) if told else None

    result = play(watch, say(fires, True), say(clears, False))

    assert expected in " ".join(result.wrong)
    assert Rehearsal(breaks=[result]).failed


def test_a_repair_that_fails_is_wrong_and_no_traceback(play: Callable[..., Result]) -> None:
    """The rehearsal goes on with the next break."""
    watch = Told()

    def repairs(_: Place) -> None:
        raise errors.ConfigurationError("it stays broken")

    result = play(watch, lambda _: watch.tell("DatabaseDown", firing=True), repairs)

    assert result.wrong == ["it stays broken"]


def test_a_runbook_that_is_not_there_is_wrong(play: Callable[..., Result]) -> None:
    """A person would be sent to nothing."""
    watch = Told()
    result = play(
        watch,
        lambda _: watch.tell("DatabaseDown", firing=True, runbook="docs/runbooks/database.md#x"),
        lambda _: watch.tell("DatabaseDown", firing=False),
    )

    assert result.wrong == ["DatabaseDown names docs/runbooks/database.md#x, which is not there"]


def test_what_is_broken_has_an_alert() -> None:
    """By its name, and once for each break."""
    assert {broken.alert for broken in BREAKS} <= set(ALERTS)
    titles = [broken.title for broken in BREAKS]
    assert len(set(titles)) == len(titles) >= 8


@pytest.mark.servers
def test_a_small_disk_is_watched_while_it_is_filled_and_gone_afterwards(tmp_path: Path) -> None:
    """By a real exporter; nothing stays mounted, and nothing else is watched."""
    try:
        with small_disk(tmp_path, lambda _: None) as disk:
            disk.fill(0.85)
            filled = _free(disk.address)
            disk.make_room()
            emptied = _free(disk.address)
    except errors.ConfigurationError as error:
        pytest.skip(f"no disk to fill here: {error}")

    assert filled == pytest.approx(0.15, abs=0.01)
    assert emptied == pytest.approx(1, abs=0.01)
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert SIZE_MB < 100, "it is memory"


def _free(address: str) -> float:
    """Return the share that is free of the only file system that an exporter sees."""
    page = httpx.get(f"http://{address}/metrics", trust_env=False, verify=NO_AUTHORITIES).text
    [free] = re.findall(r"^node_filesystem_avail_bytes\{.*\} (\S+)$", page, re.MULTILINE)
    [size] = re.findall(r"^node_filesystem_size_bytes\{.*\} (\S+)$", page, re.MULTILINE)
    return float(free) / float(size)
