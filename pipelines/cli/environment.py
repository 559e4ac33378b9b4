"""Where a command works: on configured services, or on the local world of this checkout.

Here: the choice, and setting the environment variables that the pipelines read. Not here: starting
servers (sandbox/), or the meaning of the variables (resources/settings/).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from marketdata.recovery import errors
from pipelines.cli import console, local_world
from pipelines.cli.local_world import LocalWorld
from resources import opening
from resources.database_url import in_schema
from resources.settings import (
    database_url_in,
    layers,
    read_settings,
    read_telemetry_settings,
    refuse_unknown_variables,
    unread_variables,
    wrong_values,
)
from resources.settings.profiles import Profile, profile_in_force
from resources.storage import migrations
from resources.telemetry import logs

PROJECT = Path(__file__).resolve().parents[2]
"""The checkout: the folder that holds dagster.yaml and workspace.yaml."""

OF_DAGSTER = "WRDATA_DAGSTER_DATABASE_URL"

CONFIGURED_BY = {
    "timescaledb": "WRDATA_DATABASE_URL",
    "object_store": "WRDATA_ARCHIVE_BUCKET",
    "providers": "FMP_API_KEY",
}
"""Variable whose presence means that a service is configured, not local.

All providers are simulated, or none: with a key for FMP, a provider without a key cannot be asked.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The services that a command works on.

    Attributes:
        world: The local world of this checkout, used or not; an empty one where none is installed.
        local: Names of the services that the local world serves.
    """

    world: LocalWorld
    local: tuple[str, ...]

    @property
    def simulated(self) -> bool:
        """Whether the providers are simulators."""
        return "providers" in self.local


def surroundings(
    configured: Mapping[str, str] | None = None, *, writes: bool = True
) -> Surroundings:
    """Decide which services are local, from the environment and `.env` (or ``configured``).

    Args:
        configured: Variables to use instead.
        writes: Whether prices may be fetched and stored. A command that reads stored rows,
            archives them or changes the schema needs no provider.

    Raises:
        ConfigurationError: Simulated prices would be written to a real database or bucket, or a
            service is not configured and there is no local world.
    """
    variables = layers.variables() if configured is None else configured
    profile = profile_in_force()
    local = tuple(name for name, variable in CONFIGURED_BY.items() if not variables.get(variable))
    if not profile.uses_local_world:
        _require_stores(profile, local)
        # Providers are real there: one without a key says so where it is asked.
        return Surroundings(world=world_of(variables), local=())
    real = [CONFIGURED_BY[name] for name in ("timescaledb", "object_store") if name not in local]
    if real and not writes:
        # If all is local the simulators stay: simulated prices have their own database.
        local = tuple(name for name in local if name != "providers")
    if "providers" in local and real:
        message = (
            f"{' and '.join(real)} name services of yours, but FMP_API_KEY is not set: "
            "simulated prices would be written there. Set FMP_API_KEY, or unset "
            f"{' and '.join(real)} to work in the local world"
        )
        raise errors.ConfigurationError(message)
    if local and not local_world.is_installed():
        missing = " and ".join(CONFIGURED_BY[name] for name in local)
        message = f"set {missing}: {local_world.NOT_INSTALLED}"
        raise errors.ConfigurationError(message)
    return Surroundings(world=world_of(variables), local=local)


def _require_stores(profile: Profile, local: Sequence[str]) -> None:
    missing = [CONFIGURED_BY[name] for name in local if name != "providers"]
    if missing:
        message = f"set {' and '.join(missing)}: {profile.name} has no local world to stand in"
        raise errors.ConfigurationError(message)


def world_of(variables: Mapping[str, str]) -> LocalWorld:
    """Return the local world of this checkout."""
    return local_world.at(Path(variables.get("WRDATA_STATE_DIR") or PROJECT / ".wrdata"))


def enter(
    surroundings: Surroundings, *, start: bool, report: Callable[[str], None] = lambda _: None
) -> None:
    """Set the environment of this process, and of those it starts, to ``surroundings``.

    Warns of variables that nothing reads.

    Args:
        surroundings: Where to work.
        start: Start local services that do not run; otherwise they have to run already.
        report: Called with a sentence for each step.

    Raises:
        ConfigurationError: A variable is unknown where the profile takes none, a value is wrong, a
            service cannot be started, or a service does not run and ``start`` is not set.
    """
    warn_of_variables()
    refuse_unknown_variables()
    wrong = wrong_values()
    if wrong:
        raise errors.ConfigurationError(f"{'; '.join(wrong)}. Correct it, or unset it")
    if surroundings.local and start:
        _start(surroundings, report)
    adopt(surroundings)
    # Now that all is known that no line may show.
    chosen = read_telemetry_settings()
    logs.begin(chosen.log_format, chosen.log_level, command=True)


def warn_of_variables() -> None:
    """Warn of variables that look like ours and that nothing reads.

    Raises:
        ConfigurationError: There is no such profile, or `.env` cannot be used.
    """
    for line in unread_variables(layers.variables()):
        console.warn(line)


def adopt(surroundings: Surroundings) -> None:
    """Set the environment of this process to ``surroundings``; check and start nothing.

    Raises:
        ConfigurationError: A local service does not run, or a database's URL cannot be used.
    """
    # Other readers of the environment, and the processes that this one starts, read no `.env`.
    os.environ.update(layers.variables())
    if surroundings.local:
        if surroundings.world.root.exists():
            surroundings.world.join()
        _require_running(surroundings)
        variables = surroundings.world.environment(surroundings.local)
        for name in _overruled(variables):
            console.warn(f"{name} is not used here: the local world sets its own value")
        os.environ.update(variables)
    if "timescaledb" not in surroundings.local:
        # Dagster reads its URL itself and accepts fewer spellings: it gets the common one, and
        # no reference to a secret.
        os.environ[OF_DAGSTER] = (
            database_url_in(OF_DAGSTER)
            if os.environ.get(OF_DAGSTER)
            else in_schema(database_url_in("WRDATA_DATABASE_URL"), "dagster")
        )
    home = Path(os.environ.get("DAGSTER_HOME") or surroundings.world.root / "dagster")
    os.environ["DAGSTER_HOME"] = str(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        instance_file = home / "dagster.yaml"
        if not instance_file.exists():
            instance_file.symlink_to(PROJECT / "dagster.yaml")
    except OSError as error:
        message = f"{home} cannot be made ({error.strerror}): set DAGSTER_HOME to a folder of yours"
        raise errors.ConfigurationError(message) from error


def _overruled(variables: Mapping[str, str]) -> list[str]:
    """Return the variables that a person has set and the local world overrules.

    AWS variables are left out: they may be there for other programs.
    """
    return [
        name
        for name, value in sorted(variables.items())
        if os.environ.get(name, value) not in {"", value} and not name.startswith("AWS_")
    ]


def _start(surroundings: Surroundings, report: Callable[[str], None]) -> None:
    try:
        surroundings.world.join()
        surroundings.world.start(surroundings.local, report)
    except OSError as error:
        message = (
            f"the local world cannot be kept in {surroundings.world.root} ({error.strerror}): set "
            "WRDATA_STATE_DIR to a folder of yours"
        )
        raise errors.ConfigurationError(message) from error


def require_schema(surroundings: Surroundings) -> None:
    """Bring a local database's schema up to date; require that a configured one is.

    Raises:
        ConfigurationError: The configured database waits for migrations.
        StorageError: The database cannot be reached, or does not fit this code.
    """
    settings = read_settings()
    if "timescaledb" in surroundings.local:
        # One checkout works here: no release before it does.
        opening.prepare_database(settings, contract=True)
        return
    url = settings.database_url.get_secret_value()
    waiting = migrations.needed(url)
    if waiting:
        message = f"the database waits for {len(waiting)} migrations: run `wrdata migrate`"
        raise errors.ConfigurationError(message)


def _require_running(surroundings: Surroundings) -> None:
    down = [
        service.name
        for service in surroundings.world.status()
        if service.name in surroundings.local and not service.running
    ]
    if down:
        message = (
            f"the local world does not run ({', '.join(down)}): start it with `wrdata up`, or "
            "configure services of yours (docs/how-to/run.md)"
        )
        raise errors.ConfigurationError(message)
