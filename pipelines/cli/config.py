"""wrdata config: the settings of this process, where each comes from, and what is wrong with them.

Here: the commands and their output. Not here: what settings mean (resources/settings/), or whether
the services behind them answer (diagnosis.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from marketdata.recovery import errors
from pipelines.cli import console, environment
from resources.settings import (
    layers,
    read_settings,
    setting_lines,
    unknown_variables,
    unread_variables,
    unresolved_secrets,
    wrong_values,
)
from resources.settings.profiles import profile_in_force

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def show(json: Json = False) -> None:
    """Show every setting: its value, where it comes from, and no secret."""
    profile = profile_in_force()
    rows = [asdict(line) for line in setting_lines(_of_local_world())]
    if json:
        console.print_json({"profile": profile.name, "settings": rows})
        return
    environment.warn_of_variables()
    console.print_table(f"profile {profile.name}", rows, by=("variable",))


def check(json: Json = False) -> int:
    """Check the settings without starting or asking any service but the secrets manager.

    Status 1 if one is missing, unknown where the profile takes none, wrong, or a secret that
    cannot be had.
    """
    faults = list(dict.fromkeys(_faults()))
    warnings = [line for line in _unread() if line not in faults]
    if json:
        console.print_json({"faults": faults, "warnings": warnings})
        return 1 if faults else 0
    for line in warnings:
        console.warn(line)
    for line in faults:
        console.fail(line)
    if not faults:
        console.say(f"all settings are good (profile {profile_in_force().name})")
    return 1 if faults else 0


def _faults() -> Iterator[str]:
    wrong = wrong_values()
    yield from wrong
    try:
        yield from unknown_variables()
        surroundings = environment.surroundings(writes=False)
        if not surroundings.local and not wrong:
            yield from unresolved_secrets(read_settings())
    except errors.ConfigurationError as error:
        yield str(error)


def _unread() -> list[str]:
    try:
        return unread_variables(layers.variables())
    except errors.ConfigurationError:
        return []  # which is a fault already


def _of_local_world() -> Mapping[str, str]:
    """Return what the local world sets for a command; nothing if it was never started."""
    try:
        surroundings = environment.surroundings(writes=False)
        if not surroundings.local:
            return {}
        return surroundings.world.environment(surroundings.local)
    except errors.ConfigurationError:
        return {}
