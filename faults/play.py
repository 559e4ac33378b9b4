"""One scenario from its fault to its verdict, with the recovery between.

Here: the order of steps and the measured time. Not here: the faults (scenarios.py), the evidence
(oracle.py), or the table (__main__.py).

Recovery is what a person on call does: the same command again where a scenario says so, and
`wrdata dlq retry --all` until no letter is left. Its time runs from the end of the fault to the
oracle's look that finds everything equal, the start of each command (about four seconds on two
cores) and the look itself included.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from faults import world
from faults.archive_oracle import Archived
from faults.dataset_oracle import Slice
from faults.oracle import Claim, Evidence
from faults.scenarios import Scenario
from faults.workers import SuiteError
from faults.world import Scene, Servers
from marketdata.recovery import errors

RECOVERED_WITHIN_S = 240.0
BULK_INTERVAL_S = 2.0
"""Interval of the simulator's bulk endpoint; FMP's own ten seconds would only cost time."""
PAUSE_S = 2.0
SHORT_PER_MINUTE = 300


@dataclass(slots=True, kw_only=True)
class Result:
    """The result of one scenario.

    Attributes:
        scenario: The name of its function, for --only.
        tickers: How many tickers were asked for.
        at_once: How many tickers had all their bars before the recovery.
        recovered: How many had them in the end.
        letters: Unsettled dead letters before the recovery.
        recovered_after_s: From the end of the fault; None if it was not recovered.
        wrong: One sentence for each finding; empty means passed.
    """

    scenario: str
    title: str
    seed: int
    injected: dict[str, int] = field(default_factory=dict[str, int])
    tickers: int = 0
    at_once: int = 0
    recovered: int = 0
    letters: int = 0
    requests: int = 0
    recovered_after_s: float | None = None
    took_s: float = 0.0
    notes: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])


def play(servers: Servers, scenario: Scenario, seed: int, *, short: bool) -> Result:
    """Play ``scenario``; the result holds every failure, of the pipeline or the suite.

    Args:
        servers: The running servers.
        scenario: What to play.
        seed: Seed of all random draws.
        short: Play the short form.
    """
    began = time.monotonic()
    name = scenario.play.__name__
    result = Result(scenario=name, title=scenario.title, seed=seed)
    try:
        with world.scene(
            servers,
            name,
            seed=seed,
            per_minute=max(scenario.per_minute, SHORT_PER_MINUTE) if short else scenario.per_minute,
            bulk_interval_s=BULK_INTERVAL_S,
            short=short,
        ) as scene:
            _play(scene, scenario, result)
    except (SuiteError, errors.MarketDataError, psycopg.Error) as error:
        result.wrong.append(f"the scenario could not be played to its end: {error}")
    result.took_s = time.monotonic() - began
    return result


def _play(scene: Scene, scenario: Scenario, result: Result) -> None:
    result.injected, result.wrong, result.notes = scene.injected, scene.wrong, scene.notes
    claims = scenario.play(scene)
    if not scene.injected:
        result.wrong.append("no fault was injected: the scenario showed nothing")
    # A load from a misbehaving provider fails in part; that is no lost run.
    if not scenario.sensor and any(worker.failed for worker in scene.workers):
        scene.tick()
    before = scene.look(claims, listed=scenario.listed)
    result.tickers, result.at_once = before.tickers, before.complete_tickers
    result.letters = len(before.letters)
    result.wrong += [f"before recovery: {finding}" for finding in before.wrong]
    if scenario.same_command and before.unfinished:
        scene.run(*scene.workers[0].command[1:])
    left = before
    if scenario.sensor and not scene.short and scene.retry_due():
        left = scene.look(claims)
        result.wrong += [f"after the sensor: {finding}" for finding in left.wrong]
    after = _recovered(scene, claims, left)
    result.recovered = after.complete_tickers
    result.requests = len(scene.journal())
    result.wrong += [f"after recovery: {finding}" for finding in (*after.wrong, *after.unfinished)]
    result.wrong += scene.outputs()
    if not after.unfinished:
        result.recovered_after_s = time.monotonic() - scene.fault_ended_at


def _recovered(
    scene: Scene, claims: Sequence[Claim | Slice | Archived], before: Evidence
) -> Evidence:
    """Retry the dead letters until nothing is unfinished; give up after RECOVERED_WITHIN_S."""
    deadline = time.monotonic() + RECOVERED_WITHIN_S
    evidence = before
    while evidence.unfinished and time.monotonic() < deadline:
        scene.run("dlq", "retry", "--all")
        evidence = scene.look(claims)
        if evidence.unfinished:
            # An open circuit breaker rejects at once, so haste gains nothing.
            time.sleep(PAUSE_S)
    return evidence
