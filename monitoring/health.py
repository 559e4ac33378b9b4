"""Whether this installation can do its work: what `/health/…` answers.

Here: the parts that have to work, asked in parallel, each within its own time. Not here: HTTP
(server.py), or what is wrong in detail and how to mend it (`wrdata doctor`).
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import httpx

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources.storage import migrations, timescale
from resources.storage.metrics import dagster_figures
from resources.storage.metrics.snapshots import CONNECT_WITHIN_S, Snapshots
from resources.storage.object_store import ObjectStore

ANSWERS_WITHIN_S = 1.0
"""How long each part may take; all are asked at once."""
HEARTBEAT_WITHIN = timedelta(minutes=2)
"""Dagster's daemons write one every 30 s."""
CODE_LOCATIONS = """
{ workspaceOrError { __typename ... on Workspace {
  locationEntries { name loadStatus locationOrLoadError { __typename } } } } }
"""
"""Asks the web server for what it knows already: it loads nothing."""

Probe = Callable[[], None]
"""Returns if its part works; otherwise raises one of our errors, whose text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """The state of one part; ``reason`` says why it does not work."""

    ok: bool
    reason: str = ""


@dataclass(slots=True)
class _Question:
    """A probe under way: it may be silent for longer than anybody waits for it."""

    answered: threading.Event = field(default_factory=threading.Event)
    state: PartState = field(default_factory=lambda: PartState(ok=False))


class Health:
    """Asks all parts whether they work.

    Args:
        probes: One for each part, by its name. They run in threads.
        within_s: How long each may take.
    """

    def __init__(self, probes: Mapping[str, Probe], *, within_s: float = ANSWERS_WITHIN_S) -> None:
        self._probes = probes
        self._within_s = within_s
        self._lock = threading.Lock()
        self._under_way: dict[str, _Question] = {}
        self._was_ready = False

    def ready(self) -> Mapping[str, PartState]:
        """Return the state of each part now; takes as long as the slowest, ``within_s`` at most."""
        ends_at = time.monotonic() + self._within_s
        questions = {name: self._ask(name) for name in self._probes}
        states = {name: self._answer(question, ends_at) for name, question in questions.items()}
        self._was_ready = self._was_ready or all(state.ok for state in states.values())
        return states

    def has_started(self) -> bool:
        """Return whether all parts have worked at the same time since this process began."""
        if not self._was_ready:
            self.ready()
        return self._was_ready

    def _ask(self, name: str) -> _Question:
        """Ask a part, unless a question to it is still under way: a silent one is asked once."""
        with self._lock:
            question = self._under_way.get(name)
            if question is None:
                question = self._under_way[name] = _Question()
                # A daemon: a probe that hangs must not keep this process from ending.
                threading.Thread(
                    target=self._put, args=(name, question), name=f"health of {name}", daemon=True
                ).start()
            return question

    def _put(self, name: str, question: _Question) -> None:
        try:
            self._probes[name]()
        except errors.MarketDataError as error:
            question.state = PartState(ok=False, reason=str(error))
        except Exception as error:  # noqa: BLE001 # a probe that breaks is an answer too
            question.state = PartState(ok=False, reason=f"the probe broke: {error!r}")
        else:
            question.state = PartState(ok=True)
        with self._lock:
            del self._under_way[name]
        question.answered.set()

    def _answer(self, question: _Question, ends_at: float) -> PartState:
        if question.answered.wait(max(ends_at - time.monotonic(), 0.0)):
            return question.state
        return PartState(ok=False, reason=f"no answer within {self._within_s:g} s")


def probe_database(url: str) -> None:
    """Connect to our database.

    Raises:
        StorageError: It cannot be reached, or refuses.
    """
    with timescale.connect(url, within_s=CONNECT_WITHIN_S):
        pass


def probe_schema(url: str) -> None:
    """Compare the database's migrations with this version's.

    Raises:
        ConfigurationError: Migrations wait.
        StorageError: The database is ahead of this version, or cannot be reached.
    """
    waiting = migrations.needed(url)
    if waiting:
        message = f"{len(waiting)} migrations wait, the first is {waiting[0]}: run wrdata migrate"
        raise errors.ConfigurationError(message)


def probe_bucket(store: ObjectStore) -> None:
    """Ask for the bucket.

    Raises:
        StorageError: It cannot be reached, refuses, or is not there.
    """
    store.require_bucket()


def probe_daemon(snapshots: Snapshots) -> None:
    """Look for a recent heartbeat of Dagster's daemon, in Dagster's database.

    Raises:
        ConfigurationError: There is none.
        StorageError: The database cannot be reached, or has no tables of Dagster.
    """
    with snapshots.opened() as snapshot, snapshot.part() as connection:
        dagster_figures.require_tables(connection)
        beats = dagster_figures.heartbeats(connection)
    latest = max(beats.values(), default=None)
    if latest is None:
        message = "Dagster's daemon was never started: run dagster-daemon run, or wrdata up"
        raise errors.ConfigurationError(message)
    if utc_now() - latest > HEARTBEAT_WITHIN:
        message = (
            f"Dagster's daemon was last heard of at {latest:%Y-%m-%d %H:%M:%S} UTC: start it again"
        )
        raise errors.ConfigurationError(message)


def probe_code_location(webserver: str, headers: Mapping[str, str]) -> None:
    """Ask Dagster's web server whether it has loaded every code location.

    Args:
        webserver: Its address; empty if none is known.
        headers: What lets a question in, where the web server stands behind a proxy.

    Raises:
        ConfigurationError: It cannot be asked, or a location is not loaded.
    """
    if not webserver:
        message = "no Dagster web server is known: name it with --webserver"
        raise errors.ConfigurationError(message)
    try:
        answer = httpx.post(
            f"{webserver.rstrip('/')}/graphql",
            json={"query": CODE_LOCATIONS},
            headers=headers,
            timeout=ANSWERS_WITHIN_S,
            trust_env=False,
        ).raise_for_status()
        locations = answer.json()["data"]["workspaceOrError"]["locationEntries"]
        broken = [location["name"] for location in locations if not _is_loaded(location)]
    except httpx.HTTPError as error:
        message = f"Dagster's web server does not answer ({type(error).__name__}): is it up?"
        raise errors.ConfigurationError(message) from error
    except (ValueError, KeyError, TypeError) as error:
        message = "Dagster's web server answers something else: is it one?"
        raise errors.ConfigurationError(message) from error
    if broken or not locations:
        message = f"code locations are not loaded: {', '.join(broken) or 'there is none'}"
        raise errors.ConfigurationError(message)


def _is_loaded(location: Mapping[str, Any]) -> bool:
    loaded: Mapping[str, str] = location["locationOrLoadError"] or {}
    return location["loadStatus"] == "LOADED" and loaded.get("__typename") == "RepositoryLocation"


def probes(
    *,
    database_url: str,
    dagster_url: str,
    store: ObjectStore,
    webserver: str,
    webserver_headers: Mapping[str, str],
) -> Mapping[str, Probe]:
    """Return the probe of each part that the pipelines need."""
    snapshots = Snapshots(dagster_url)
    return {
        "database": partial(probe_database, database_url),
        "schema": partial(probe_schema, database_url),
        "bucket": partial(probe_bucket, store),
        "daemon": partial(probe_daemon, snapshots),
        "code_location": partial(probe_code_location, webserver, webserver_headers),
    }
