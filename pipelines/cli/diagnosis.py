"""Probes of `wrdata doctor`: each thing the pipelines need, whether it works, and the cure.

Here: the probes. Not here: printing (world.py), or fixing what they find.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import dagster as dg
import httpx

from machine.processes import NO_AUTHORITIES
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.recovery import errors
from pipelines import workers
from pipelines.cli import dagster_processes, database_probes, environment
from resources import clients, key_probes, opening
from resources.provider_registry import PROVIDERS, Line
from resources.settings import (
    Settings,
    layers,
    read_settings,
    route_of,
    unread_variables,
    wrong_values,
)
from resources.storage import compression, migrations
from resources.storage.aggregates import engines
from resources.storage.aggregates.engines import Engine, EngineSetting
from resources.storage.aggregates.known_faults import known_faults
from resources.storage.object_store import ObjectStore
from resources.storage.request_leases import RequestLeases
from resources.storage.timescale import Timescale

PROBE_TIMEOUT_S = 5.0
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was probed: its origin, its address, its state, and the cure if it fails."""

    name: str
    ok: bool
    origin: str
    address: str
    detail: str
    cure: str = ""

    def as_row(self) -> dict[str, str]:
        """Return the finding for a table or for JSON."""
        return {
            "name": self.name,
            "state": "ok" if self.ok else "not ok",
            "origin": self.origin,
            "address": self.address,
            "detail": self.detail,
            "cure": self.cure,
        }


def findings() -> list[Finding]:
    """Probe everything; start nothing; no fault hides another."""
    of_variables = _variables()
    try:
        surroundings = environment.surroundings()
    except errors.ConfigurationError as error:
        of_variables.append(_broken("configuration", "environment", "", error))
        surroundings = environment.surroundings(writes=False)
    local = _local_services(surroundings)
    if all(finding.ok for finding in local):
        try:
            environment.adopt(surroundings)
            local = _services(surroundings)
        except errors.ConfigurationError as error:
            local = [_broken("configuration", "environment", "", error)]
    return [*of_variables, *local, _user_interface(surroundings)]


def _variables() -> list[Finding]:
    """Check the variables as the person has set them, in the environment and in `.env`."""
    cures = dict.fromkeys(wrong_values(), "correct it, or unset it")
    with contextlib.suppress(errors.ConfigurationError):  # which is a wrong value already
        unread = unread_variables(layers.variables())
        cures = {**dict.fromkeys(unread, "correct its name, or unset it"), **cures}
    return [
        Finding(
            name="configuration", ok=False, origin="environment", address="", detail=line, cure=cure
        )
        for line, cure in cures.items()
    ]


def _local_services(surroundings: environment.Surroundings) -> list[Finding]:
    return [
        Finding(
            name=service.name,
            ok=service.running,
            origin="local world",
            address=service.address,
            detail=service.detail,
            cure="" if service.running else f"wrdata up; {service.cure}",
        )
        for service in surroundings.world.status()
        if service.name in surroundings.local
    ]


def _services(surroundings: environment.Surroundings) -> list[Finding]:
    try:
        settings = read_settings()
    except errors.ConfigurationError as error:
        # Wrong values have been reported one by one.
        return [] if wrong_values() else [_broken("configuration", "environment", "", error)]

    def origin(service: str) -> str:
        return "local world" if service in surroundings.local else "configured"

    probes: list[tuple[str, str, str, Callable[[Settings], str]]] = [
        ("database", origin("timescaledb"), _shown(settings.database_url.get_secret_value()),
         _probe_database),
        ("aggregates", origin("timescaledb"), "", _probe_aggregates),
        ("compression", origin("timescaledb"), "", _probe_compression),
        ("object store", origin("object_store"),
         f"{_shown(settings.s3_endpoint) or 'AWS'} bucket {settings.archive_bucket}",
         _probe_object_store),
        ("dagster storage", origin("timescaledb"),
         _shown(os.environ.get("WRDATA_DAGSTER_DATABASE_URL", "")), _probe_dagster_storage),
        ("runs", origin("timescaledb"), "", _probe_runs),
    ]  # fmt: skip
    probed: list[Finding] = []
    for name, service_origin, address, probe in probes:
        try:
            detail = probe(settings)
        except errors.MarketDataError as error:
            probed.append(_broken(name, service_origin, address, error))
        else:
            probed.append(
                Finding(name=name, ok=True, origin=service_origin, address=address, detail=detail)
            )
    return probed + _providers(settings, origin("providers"))


def _providers(settings: Settings, origin: str) -> list[Finding]:
    """Ask each provider once, on the shared request budget if the database can be reached."""
    url = settings.database_url.get_secret_value()
    try:
        with Timescale(url, pool_size=2) as timescale, RequestLeases(timescale) as leases:
            leases.status()
            return asyncio.run(_ask_all(settings, origin, leases))
    except errors.StorageError:
        # The database has its own finding; keys can be checked without it.
        return asyncio.run(_ask_all(settings, origin, None))


async def _ask_all(settings: Settings, origin: str, leases: RequestLeases | None) -> list[Finding]:
    questions = (_provider(settings, name, origin, leases) for name in PROVIDERS)
    return list(await asyncio.gather(*questions))


async def _provider(
    settings: Settings, name: str, origin: str, leases: RequestLeases | None
) -> Finding:
    """Ask a provider one question; without a key it is not used, which is no fault."""
    unused = clients.missing_key(settings, name)
    if unused:
        return Finding(name=name, ok=True, origin="not used", address="", detail=unused)
    try:
        lines = clients.lines(settings, name)
    except errors.MarketDataError as error:
        return _broken(name, origin, "", error)
    addresses = ", ".join(dict.fromkeys(_shown(line.base_url) for line in lines))
    try:
        plan = [answer for answer in await key_probes.ask(settings, name, leases) if answer]
    except (errors.ProviderError, errors.ConfigurationError) as error:
        ok, detail, cure = _not_accepted(error, needs_key=lines[0].key is not None)
    else:
        accepted = "key accepted" if lines[0].key else "answers and needs no key"
        ok, detail, cure = True, ", ".join([accepted, *plan, *_paces(settings, name, lines)]), ""
    return Finding(name=name, ok=ok, origin=origin, address=addresses, detail=detail, cure=cure)


def _not_accepted(error: errors.MarketDataError, *, needs_key: bool) -> tuple[bool, str, str]:
    """Return whether all is well despite an error, what the error means, and the cure."""
    reason = str(error)
    match error:
        case errors.KeyRefusedError():
            return False, f"key refused: {reason}", "set the key that the provider's site shows"
        case errors.NotEntitledError():
            cure = "take a plan that covers it, or another provider (WRDATA_<DATASET>_PROVIDER)"
            return False, f"key accepted, its plan does not cover the question: {reason}", cure
        case errors.BudgetSpentError() | errors.RateLimitedError():
            return True, f"not judged now: {reason}", ""
        case _ if not needs_key:
            # A provider without a key may be unused here: no fault of this installation.
            return True, f"{reason}; only its own datasets need it", ""
        case errors.ProviderUnavailableError():
            return False, reason, "correct its address, or wait until the provider is back"
        case _:
            return False, reason, ""


def _paces(settings: Settings, name: str, lines: Sequence[Line]) -> list[str]:
    """Return the configured rates at which a provider may be asked."""
    if name == "fmp":
        return [
            f"configured for {settings.fmp_requests_per_minute:g} requests a minute",
            f"bulk every {settings.fmp_bulk_interval_s:g} s",
            f"daily route {route_of(DAILY_BARS_DATASET).value}",
        ]
    paces = " and ".join(f"{line.limits[0].interval_s:.3g} s" for line in lines)
    return [f"a request every {paces}"]


def _broken(name: str, origin: str, address: str, error: errors.MarketDataError) -> Finding:
    cures: Mapping[type[errors.MarketDataError], str] = {
        errors.StorageUnavailableError: "start the server, or correct its address",
    }
    return Finding(
        name=name,
        ok=False,
        origin=origin,
        address=address,
        detail=str(error),
        # Other errors name their cure in the detail.
        cure=cures.get(type(error), ""),
    )


def _probe_database(settings: Settings) -> str:
    url = settings.database_url.get_secret_value()
    migrations.require_extensions(url)
    with Timescale(url, pool_size=2) as timescale:
        server = timescale.server()
        database_probes.try_time_zones(timescale)
    waiting = migrations.needed(url)
    if waiting:
        raise errors.ConfigurationError(f"{len(waiting)} migrations wait: run wrdata migrate")
    database_probes.try_arrow(settings)
    database_probes.try_catalogue(settings)
    return (
        f"PostgreSQL {server.postgres_version}, TimescaleDB {server.timescaledb_version} "
        f"({server.edition} edition), schema up to date; "
        "it answers psycopg, ADBC and the archive's catalogue"
    )


def _probe_aggregates(settings: Settings) -> str:
    """Return the engine in use, and the known faults of this server's version with it.

    Fails if another engine is asked for by name, or if no refresh avoids a fault.
    """
    setting = EngineSetting(settings.aggregates)
    with Timescale(settings.database_url.get_secret_value(), pool_size=2) as timescale:
        meant = engines.chosen(timescale, setting)
        engine = engines.opened(timescale, setting).engine
        version = timescale.server().timescaledb_version
    in_force = f"{engine.replace('_', ' ')} (WRDATA_AGGREGATES={setting.value})"
    if meant != engine:
        in_force = f"{in_force}; `wrdata migrate` would change to {meant.value}"
    if engine == Engine.ROLLUPS:
        return in_force
    faults = known_faults(version)
    with_faults = "; ".join(
        [in_force, *(f"of TimescaleDB {version} is known: {fault}" for fault in faults)]
    )
    if all(fault.avoided for fault in faults):
        return with_faults
    raise errors.ConfigurationError(
        f"{with_faults}. Upgrade TimescaleDB, or set WRDATA_AGGREGATES=rollups and run "
        "wrdata migrate"
    )


def _probe_compression(settings: Settings) -> str:
    with Timescale(settings.database_url.get_secret_value(), pool_size=2) as timescale:
        if not compression.is_offered(timescale):
            return (
                "not in this edition; old rows take less room in the archive's Parquet files "
                "(WRDATA_RETENTION)"
            )
        tables = compression.compressed_tables(timescale)
    return (
        ", ".join(
            f"{table.table} {table.bytes_before / MEGABYTE:.0f} -> "
            f"{table.bytes_after / MEGABYTE:.0f} MB"
            for table in tables
        )
        or "offered but not set up: run `wrdata migrate`"
    )


def _probe_object_store(settings: Settings) -> str:
    store = ObjectStore(opening.s3_settings(settings))
    store.require_bucket()
    return "the bucket answers"


def _probe_dagster_storage(_settings: Settings) -> str:
    version = database_probes.try_dagster(os.environ["WRDATA_DAGSTER_DATABASE_URL"])
    return f"PostgreSQL {version.partition(' ')[0]}"


def _probe_runs(_settings: Settings) -> str:
    """Refuse runs that Dagster takes for running and whose worker is gone."""
    with dg.DagsterInstance.get() as instance:
        lost = workers.current_lost(instance)
    if lost:
        named = "; ".join(
            f"run {lost_run.run.run_id} ({lost_run.run.job_name}): {lost_run.reason}"
            for lost_run in lost
        )
        message = (
            f"{named}. The sensor lost_runs ends it within a minute if the daemon runs; so does "
            "the next command that loads, such as `wrdata universe`"
        )
        raise errors.StorageConflictError(message)
    return "each has a running worker"


def _user_interface(surroundings: environment.Surroundings) -> Finding:
    running = dagster_processes.left_over(surroundings.world.root)
    if running is None:
        return Finding(
            name="dagster ui", ok=True, origin="local", address="", detail="not running",
            cure="wrdata up starts it",
        )  # fmt: skip
    address = f"http://127.0.0.1:{running[1]}"
    try:
        version = httpx.get(
            f"{address}/server_info", timeout=PROBE_TIMEOUT_S, verify=NO_AUTHORITIES
        ).json()
    except (httpx.HTTPError, ValueError):
        return Finding(
            name="dagster ui", ok=False, origin="local", address=address,
            detail="runs but does not answer", cure="wait a moment, or wrdata down and wrdata up",
        )  # fmt: skip
    return Finding(
        name="dagster ui", ok=True, origin="local", address=address,
        detail=f"Dagster {version['dagster_version']}",
    )  # fmt: skip


def _shown(url: str) -> str:
    """Return ``url`` without user, password and query, which may hold secrets."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"
