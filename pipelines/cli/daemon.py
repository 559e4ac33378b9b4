"""wrdata daemon: Dagster's daemon, of which one at a time works.

Here: the lock that decides who works, and the daemon in this process. Not here: the lock
itself (resources/storage/runs/only_daemon.py), or the daemon of `wrdata up` (dagster_processes.py).

Two daemons would both start what is due. Dagster only warns of that. Here the second is refused, or
stands by and takes over within seconds when the first is gone.
"""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from marketdata.recovery import errors
from pipelines.cli import console, dagster_processes, environment
from pipelines.cli.environment import PROJECT
from pipelines.dagster_internals import run_command
from resources.settings import read_settings
from resources.storage.runs.only_daemon import DaemonLock

LOOKS_EVERY_S = 2.0
ENDS_WITHIN_S = 60.0


def daemon(
    *,
    standby: Annotated[
        bool,
        typer.Option("--standby", help="Where another daemon works, wait until it is gone."),
    ] = False,
    workspace: Annotated[Path, typer.Option("--workspace", help="What loads the code.")] = PROJECT
    / "workspace.yaml",
) -> None:
    """Run Dagster's daemon: queue, schedules, sensors, retries. One at a time works."""
    if not workspace.is_file():
        raise errors.ConfigurationError(f"there is no {workspace}: name a workspace.yaml")
    environment.enter(environment.surroundings(writes=False), start=False)
    lock = DaemonLock(read_settings().dagster_url)
    ended = threading.Event()
    try:
        with dagster_processes.signals_handled(lambda _number, _frame: ended.set()):
            is_ours = _take(lock, ended, standby=standby)
        if is_ours:
            _work(lock, workspace.absolute())
    finally:
        lock.release()


def _take(lock: DaemonLock, ended: threading.Event, *, standby: bool) -> bool:
    """Take the lock; return False if a signal came first.

    Raises:
        ConfigurationError: Another daemon works, and this one does not stand by.
        StorageError: The database cannot be reached.
    """
    is_told = False
    while not ended.is_set():
        if lock.take():
            return True
        holder = lock.holder()
        if not standby:
            message = (
                f"another daemon works ({holder}): stop it first, or start this one with "
                "--standby, which waits until that one is gone"
            )
            raise errors.ConfigurationError(message)
        if not is_told:
            console.say(f"standing by: the daemon of {holder} works")
            is_told = True
        ended.wait(LOOKS_EVERY_S)
    return False


def _work(lock: DaemonLock, workspace: Path) -> None:
    """Run Dagster's daemon in this process until a signal comes; watch the lock beside it."""
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(lock, over), name="lock", daemon=True)
    console.say("the daemon works")
    watch.start()
    try:
        run_command.main(args=["-w", str(workspace)], standalone_mode=False)
    finally:
        over.set()


def _watch(lock: DaemonLock, over: threading.Event) -> None:
    """End this process if another daemon has the lock: after a restart of the database it may."""
    while not over.wait(LOOKS_EVERY_S):
        if _still_ours(lock):
            continue
        console.fail("another daemon has taken over: this one ends")
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(ENDS_WITHIN_S)
        os._exit(1)


def _still_ours(lock: DaemonLock) -> bool:
    if lock.is_held():
        return True
    try:
        return lock.take()
    except errors.StorageError:
        return True  # The database is away: nobody can take the lock, and the daemon waits.
