"""What `wrdata doctor` finds: each thing the pipelines need, whether it works, and the cure.

Here: the probes. Not here: printing (world.py), or mending.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from marketdata.recovery import errors
from pipelines.cli import dagster_processes, database_probes, environment
from resources import clients, opening
from resources.settings import Settings, read_settings
from resources.storage import aggregate_engines, compression, migrations
from resources.storage.aggregate_engines import Engine, Wish
from resources.storage.known_faults import known_faults
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale

PROBE_TIMEOUT_S = 5.0
MEGABYTE = 1_000_000
OTHER_PROVIDERS = ("polygon", "tiingo", "fred", "binance", "coinbase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing: where it is, whose it is, how it is, and what to do if it is not well."""

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
    """Probe everything; nothing is started, and one fault does not hide another."""
    try:
        around = environment.surroundings()
    except errors.ConfigurationError as error:
        return [_broken("configuration", "environment", "", error)]
    found = _local_services(around)
    if all(finding.ok for finding in found):
        environment.enter(around, start=False)
        found = _services(around)
    found.append(_user_interface(around))
    return found


def _local_services(around: environment.Surroundings) -> list[Finding]:
    return [
        Finding(
            name=service.name,
            ok=service.running,
            origin="local world",
            address=service.address,
            detail=service.detail,
            cure="" if service.running else f"wrdata up; {service.cure}",
        )
        for service in around.world.status()
        if service.name in around.local
    ]


def _services(around: environment.Surroundings) -> list[Finding]:
    try:
        settings = read_settings()
    except errors.ConfigurationError as error:
        return [_broken("configuration", "environment", "", error)]

    def origin(service: str) -> str:
        return "local world" if service in around.local else "configured"

    probes: list[tuple[str, str, str, Callable[[Settings], str]]] = [
        ("database", origin("timescaledb"), _shown(settings.database_url.get_secret_value()),
         _probe_database),
        ("aggregates", origin("timescaledb"), "", _probe_aggregates),
        ("compression", origin("timescaledb"), "", _probe_compression),
        ("object store", origin("object_store"),
         f"{_shown(settings.s3_endpoint) or 'AWS'} bucket {settings.archive_bucket}",
         _probe_object_store),
        ("fmp", origin("providers"), _shown(settings.fmp_base_url), _probe_fmp),
        ("dagster storage", origin("timescaledb"),
         _shown(os.environ.get("WRDATA_DAGSTER_DATABASE_URL", "")), _probe_dagster_storage),
    ]  # fmt: skip
    found: list[Finding] = []
    for name, whose, address, probe in probes:
        try:
            detail = probe(settings)
        except errors.MarketDataError as error:
            found.append(_broken(name, whose, address, error))
        else:
            found.append(Finding(name=name, ok=True, origin=whose, address=address, detail=detail))
    return found + [_provider(settings, name, origin("providers")) for name in OTHER_PROVIDERS]


def _provider(settings: Settings, name: str, whose: str) -> Finding:
    """Probe a provider beside FMP; one without a key is not used, which is nothing wrong."""
    unused = clients.missing_key(settings, name)
    if unused:
        return Finding(name=name, ok=True, origin="not used", address="", detail=unused)
    lines = clients.lines(settings, name)
    address = ", ".join(_shown(line.base_url) for line in lines)
    try:
        answers = [_answer_of(line.base_url) for line in lines]
    except errors.MarketDataError as error:
        if lines[0].key is not None:
            return _broken(name, whose, address, error)
        # Nobody has said that it is used here: that is no fault of this installation.
        return Finding(
            name=name, ok=True, origin=whose, address=address,
            detail=f"{error}; only its own datasets need it",
        )  # fmt: skip
    paces = ", ".join(f"{line.limits[0].interval_s:.3g} s" for line in lines)
    return Finding(
        name=name,
        ok=True,
        origin=whose,
        address=address,
        detail=f"the host answers ({', '.join(answers)}); a request every {paces}",
    )


def _answer_of(base_url: str) -> str:
    """Ask for nothing that a plan would count: any answer of the host is a sign of life."""
    parts = urlsplit(base_url)
    try:
        answer = httpx.get(f"{parts.scheme}://{parts.netloc}", timeout=PROBE_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise errors.StorageUnavailableError(
            f"no answer from {_shown(base_url)} ({type(error).__name__}); is the address right?"
        ) from None
    return str(answer.status_code)


def _broken(name: str, origin: str, address: str, error: errors.MarketDataError) -> Finding:
    cures: Mapping[type[errors.MarketDataError], str] = {
        errors.ConfigurationError: "mend the environment as told",
        errors.StorageUnavailableError: "start the server, or correct its address",
    }
    return Finding(
        name=name,
        ok=False,
        origin=origin,
        address=address,
        detail=str(error),
        cure=cures.get(type(error), "do as the detail says"),
    )


def _probe_database(settings: Settings) -> str:
    url = settings.database_url.get_secret_value()
    with Timescale(url, pool_size=2) as timescale:
        server = timescale.server()
        database_probes.try_time_zones(timescale)
    waiting = [one.name for one in migrations.status(url) if one.applied_at is None]
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
    """Tell the engine in force, and what this server's version is known to do wrong with it.

    That another engine was asked for by name, or a fault that no refresh avoids, is not well.
    """
    wish = Wish(settings.aggregates)
    with Timescale(settings.database_url.get_secret_value(), pool_size=2) as timescale:
        meant = aggregate_engines.chosen(timescale, wish)
        engine = aggregate_engines.opened(timescale, wish).engine
        version = timescale.server().timescaledb_version
    told = f"{engine.replace('_', ' ')} (WRDATA_AGGREGATES={wish.value})"
    if meant != engine:
        told = f"{told}; `wrdata migrate` would change to {meant.value}"
    if engine == Engine.ROLLUPS:
        return told
    faults = known_faults(version)
    known = "; ".join([told, *(f"of TimescaleDB {version} is known: {fault}" for fault in faults)])
    if all(fault.avoided for fault in faults):
        return known
    raise errors.ConfigurationError(
        f"{known}. Upgrade TimescaleDB, or set WRDATA_AGGREGATES=rollups and run wrdata migrate"
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
            f"{one.table} {one.bytes_before / MEGABYTE:.0f} -> {one.bytes_after / MEGABYTE:.0f} MB"
            for one in tables
        )
        or "offered but not set up: run `wrdata migrate`"
    )


def _probe_object_store(settings: Settings) -> str:
    store = ObjectStore(opening.s3_settings(settings))
    store.require_bucket()
    return "the bucket answers"


def _probe_fmp(settings: Settings) -> str:
    return (
        f"the host answers ({_answer_of(settings.fmp_base_url)}); "
        f"{settings.fmp_requests_per_minute:g} requests "
        f"a minute, bulk every {settings.fmp_bulk_interval_s:g} s, daily route "
        f"{settings.daily_bars_route.value}"
    )


def _probe_dagster_storage(_settings: Settings) -> str:
    version = database_probes.try_dagster(os.environ["WRDATA_DAGSTER_DATABASE_URL"])
    return f"PostgreSQL {version.partition(' ')[0]}"


def _user_interface(around: environment.Surroundings) -> Finding:
    left = dagster_processes.left_over(around.world.root)
    if left is None:
        return Finding(
            name="dagster ui", ok=True, origin="local", address="", detail="not running",
            cure="wrdata up starts it",
        )  # fmt: skip
    address = f"http://127.0.0.1:{left[1]}"
    try:
        version = httpx.get(f"{address}/server_info", timeout=PROBE_TIMEOUT_S).json()
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
    """Return where ``url`` leads: no user, password or query, which may hold secrets."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"
