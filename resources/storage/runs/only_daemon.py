"""The lock of Dagster's daemon: of several on any machines one works, the others stand by.

Here: taking the lock, whether it is still held, and who holds it. Not here: what a daemon does with
it (pipelines/cli/daemon.py).

It is a lock of a transaction that stays open, so that it works through a pool of connections too,
and ends with its process, its machine or its network. The transaction reads nothing: it keeps no
vacuum from its work.
"""

import os
import socket

import psycopg
from psycopg import conninfo

from resources.storage import sql, timescale

NOTICED_AFTER_S = 5
"""A connection that is silent is tried after this time, three times at this distance."""
_FILE = "run_workers"


class DaemonLock:
    """The one lock of a database in which Dagster keeps its runs.

    Args:
        url: Of that database; never shown.
    """

    def __init__(self, url: str) -> None:
        name = f"wrdata daemon {socket.gethostname()} {os.getpid()}"
        # Of a name Postgres keeps 63 bytes.
        self._url = conninfo.make_conninfo(url, application_name=name[:63])
        self._connection: timescale.Connection | None = None

    def take(self) -> bool:
        """Take the lock; return whether it is ours now.

        Raises:
            StorageError: The database cannot be reached.
        """
        self.release()
        with timescale.translated(self._url):
            connection = psycopg.connect(
                self._url,
                connect_timeout=timescale.CONNECT_TIMEOUT_S,
                keepalives_idle=NOTICED_AFTER_S,
                keepalives_interval=NOTICED_AFTER_S,
                keepalives_count=2,
            )
            # The server notices a machine that is gone, and frees the lock.
            for setting in ("tcp_keepalives_idle", "tcp_keepalives_interval"):
                connection.execute(
                    "select set_config(%s, %s, true)", (setting, str(NOTICED_AFTER_S))
                )
            connection.execute("select set_config('tcp_keepalives_count', '2', true)")
            connection.execute(
                "select set_config('idle_in_transaction_session_timeout', '0', true)"
            )
            taken = connection.execute(sql.query(_FILE, "take_daemon_lock")).fetchone()
        if taken != (True,):
            connection.close()
            return False
        self._connection = connection
        return True

    def is_held(self) -> bool:
        """Return whether the lock is still ours: its connection lives."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("select 1")
        except psycopg.Error:
            self.release()
            return False
        return True

    def holder(self) -> str:
        """Return who has the lock, as host and process; empty if nobody has.

        Raises:
            StorageError: The database cannot be reached.
        """
        with timescale.connect(self._url) as connection:
            row = connection.execute(sql.query(_FILE, "daemon_lock_holder")).fetchone()
        return row[0].removeprefix("wrdata daemon ").replace(" ", ", process ") if row else ""

    def release(self) -> None:
        """Let another take it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
