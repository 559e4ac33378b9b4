"""Dagster's storage in Postgres over a pool of connections.

Here: the storage that every dagster.yaml names. Not here: the market data's own pool
(resources/storage/timescale.py), or PgBouncer (deploy/pgbouncer/, docs/how-to/pool.md).

Dagster's own storage opens a connection for each question and closes it again. On one machine that
costs milliseconds; over a network with TLS it costs more than the questions do, and a busy daemon
runs out of ports. The web server has a pool of Dagster's own, with a time limit for its statements,
and keeps it.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config

from pipelines.dagster_internals import ConfigurableClassData

KEPT_OPEN = 5
"""Connections of a process that stay open. A process that does little has one."""
AT_MOST = 25
"""Of them that may be open at once: the daemon evaluates as many sensors as it has threads."""
RENEWED_AFTER_S = 300
"""Shorter than firewalls and PgBouncer keep a silent connection."""
_HAVE_TABLES: set[str] = set()
"""Databases in which this process has looked for Dagster's tables, by their URL."""


class PooledStorage(DagsterPostgresStorage):
    """Dagster's runs, events and ticks in Postgres; all instances of a process share a pool.

    Args:
        postgres_url: URL of the database.
        should_autocreate_tables: Make the tables that are missing.
        inst_data: What dagster.yaml says.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        # The code server makes an instance for each tick. Only the first looks for tables.
        first = postgres_url not in _HAVE_TABLES
        super().__init__(postgres_url, should_autocreate_tables and first, inst_data)
        _HAVE_TABLES.add(postgres_url)
        # Dagster's storages make an engine each, and can be given none.
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = _pool(postgres_url)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledStorage":
        """Make the storage that dagster.yaml describes."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
        )


@functools.cache
def _pool(url: str) -> sqlalchemy.Engine:
    """Return the one pool of this process to a database."""
    engine = sqlalchemy.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=KEPT_OPEN,
        max_overflow=AT_MOST - KEPT_OPEN,
        # The last one that came back goes out first, so that a quiet process needs one.
        pool_use_lifo=True,
        # A database that was restarted costs no error: each connection is tried before its use.
        pool_pre_ping=True,
        pool_recycle=RENEWED_AFTER_S,
    )
    # Two processes on one connection would read each other's answers.
    os.register_at_fork(after_in_child=functools.partial(engine.dispose, close=False))
    return engine
