"""Reads settings from the environment, and says in one line what is wrong with it.

Here: the settings of a process, and messages for what is missing, misspelt, unknown or wrong. Not
here: the settings (variables.py), or the local world that provides what is not configured
(pipelines/cli/environment.py).
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from resources.settings import layers, profiles
from resources.settings.profiles import profile_in_force
from resources.settings.variables import (
    OURS,
    ROUTED,
    ProviderSettings,
    Settings,
    StoreSettings,
    TelemetrySettings,
    provider_of,
    provider_variable,
    route_of,
    route_variable,
    shown,
)
from resources.telemetry.context import CORRELATION_VARIABLE

_Kind = TypeVar("_Kind", bound=StoreSettings | ProviderSettings | TelemetrySettings)

READ_ELSEWHERE = (
    profiles.VARIABLE,
    "WRDATA_PROXY_SECRET",
    "WRDATA_STATE_DIR",
    "WRDATA_TEST_DATABASE_URL",
    CORRELATION_VARIABLE,
)
"""Variables that are no settings: profiles.py, the web servers behind the proxy, the local world
and the tests read them."""
ALIKE = 0.8
"""How similar two names have to be to count as a misspelling (difflib's ratio)."""


def known_variables() -> frozenset[str]:
    """Return every variable that this project reads."""
    aliases = {field.alias for field in Settings.model_fields.values() if field.alias}
    providers = {provider_variable(dataset) for dataset in DATASETS}
    routes = {route_variable(dataset) for dataset in ROUTED}
    return frozenset({*aliases, *providers, *routes, *READ_ELSEWHERE})


def unread_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that looks like one of ours but is not read.

    All that begin with WRDATA_ are ours. Of those with a provider's prefix (FMP_API_KY), only near
    misses of a known name count, since other programs may use the prefix too.
    """
    known = known_variables()
    families = {name.partition("_")[0] for name in known if not name.startswith(("AWS_", OURS))}
    lines: list[str] = []
    for name in sorted(environment.keys() - known):
        family = name.partition("_")[0]
        near = difflib.get_close_matches(name, known, n=1, cutoff=ALIKE)
        if not name.startswith(OURS) and not (family in families and near):
            continue
        cure = f": did you mean {near[0]}?" if near else "; unset it, or see docs/how-to/run.md"
        lines.append(f"{name} is set, but never read{cure}")
    return lines


def unknown_variables() -> list[str]:
    """Return a line for each unknown `WRDATA_*` where the profile takes it for an error.

    A variable of a provider's that is nearly one of ours stays a warning: it may be another
    program's.

    Raises:
        ConfigurationError: There is no such profile, or `.env` cannot be used.
    """
    if profile_in_force().allows_unknown_variables:
        return []
    return [line for line in unread_variables(layers.variables()) if line.startswith(OURS)]


def refuse_unknown_variables() -> None:
    """Make sure that nothing is misspelt, where the profile demands it.

    Raises:
        ConfigurationError: Names every unknown `WRDATA_*` in one line.
    """
    unknown = unknown_variables()
    if unknown:
        message = f"{'; '.join(unknown)}. {profile_in_force().name} takes no unknown variables"
        raise errors.ConfigurationError(message)


def wrong_values() -> list[str]:
    """Return a line for each variable of the environment with an invalid value.

    Missing variables are not reported here: the local world may provide them. Secrets by reference
    are not resolved.
    """
    lines: list[str] = []
    try:
        file = _env_file()
    except errors.ConfigurationError as error:
        return [str(error)]
    try:
        Settings(_env_file=file)  # pyright: ignore[reportCallIssue]  # the environment has the arguments
    except ValidationError as error:
        lines += [_fault_line(fault) for fault in _faults(error) if fault["type"] != "missing"]
    for choice_of, datasets in ((provider_of, DATASETS), (route_of, ROUTED)):
        for dataset in datasets:
            try:
                choice_of(dataset)
            except errors.ConfigurationError as error:
                lines.append(str(error))
    return lines


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: Names every variable that is missing or wrong, in one line.
    """
    settings = _read(Settings)
    for dataset in ROUTED:
        route_of(dataset)
    return settings


def read_store_settings() -> StoreSettings:
    """Read where the data are from the environment; providers need not be configured.

    Raises:
        ConfigurationError: Names every variable that is missing or wrong, in one line.
    """
    return _read(StoreSettings)


def read_provider_settings() -> ProviderSettings:
    """Read how providers are reached from the environment; no store need be configured.

    Raises:
        ConfigurationError: Names every variable that is wrong, in one line.
    """
    return _read(ProviderSettings)


def read_telemetry_settings() -> TelemetrySettings:
    """Read how this process logs from the environment; nothing else need be configured.

    Raises:
        ConfigurationError: Names every variable that is wrong, in one line.
    """
    return _read(TelemetrySettings)


def _env_file() -> Path | None:
    """Return the `.env` that counts, which can be read.

    Raises:
        ConfigurationError: There is no such profile, or `.env` cannot be used.
    """
    layers.of_env_file()
    return layers.env_file()


def _read(settings_class: type[_Kind]) -> _Kind:
    refuse_unknown_variables()
    file = _env_file()
    try:
        return settings_class(_env_file=file)  # pyright: ignore[reportCallIssue]  # the environment has the arguments
    except ValidationError as error:
        faults = list(_faults(error))
        lines = [_fault_line(fault) for fault in faults]
        if any(fault["type"] == "missing" for fault in faults):
            lines += unread_variables(layers.variables())
            cure = "Set what is missing"
            if profile_in_force().uses_local_world:
                cure += (
                    ", or use the local world: wrdata up, and "
                    'eval "$(wrdata env)" for programs that are not wrdata'
                )
        else:
            cure = "Correct it, or unset it"
        message = f"{'; '.join(lines)}. {cure}"
        raise errors.ConfigurationError(message) from None


def _faults(error: ValidationError) -> Iterator[dict[str, Any]]:
    for fault in error.errors(include_url=False):
        yield {**fault}


def _fault_line(fault: Mapping[str, Any]) -> str:
    """Describe a fault of one variable in one line; possible secrets are not repeated."""
    name = str(fault["loc"][0])
    if fault["type"] == "missing":
        return f"{name} is not set"
    if fault["type"] == "value_error":
        return f"{name}: {fault['ctx']['error']}"
    why = re.sub(r"^(Input|String|Value) should", "it should", fault["msg"]).partition(", unable")[
        0
    ]
    if name.endswith(("_URL", "_ENDPOINT", "_KEY", "_KEY_ID")):
        return f"{name}: {why}"
    return f"{name} is {shown(fault['input'])}: {why}"
