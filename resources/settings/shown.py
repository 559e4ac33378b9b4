"""Settings as they may be shown: each value, where it comes from, and no secret.

Here: masking, and the origin of each value. Not here: printing (pipelines/cli/config.py).
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic_core import PydanticUndefined

from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from resources import database_url
from resources.settings import layers, profiles, references
from resources.settings.references import Reference, is_reference
from resources.settings.variables import (
    ROUTED,
    ProviderSettings,
    ReferredSecret,
    SessionRoute,
    Settings,
    provider_variable,
    route_variable,
)
from resources.telemetry.context import CORRELATION_VARIABLE

OF_THE_PROXY = "WRDATA_PROXY_SECRET"
"""Read by the web servers behind the proxy (pipelines/users.py)."""
DIGEST = 8
"""Hex digits of a secret's SHA-256 that are shown: enough to see whether two places agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingLine:
    """One variable as it is shown.

    Attributes:
        value: The text; of a secret only whether it is set, and the beginning of its SHA-256.
        source: ``environment``, ``.env``, ``secrets manager``, ``local world`` or ``default``.
    """

    variable: str
    value: str
    source: str


def setting_lines(local: Mapping[str, str]) -> list[SettingLine]:
    """Return every variable that is read, with its value and source.

    Secrets by reference are resolved; one that cannot be says why.

    Args:
        local: Variables that the local world sets for a command.

    Raises:
        ConfigurationError: There is no such profile, or `.env` cannot be used.
    """
    of_file = layers.of_env_file()
    secret = _secret_variables()
    lines: list[SettingLine] = []
    for variable, default in _defaults():
        own = os.environ.get(variable, "")
        if variable in local:
            text, source = local[variable], "local world"
        elif own:
            text, source = own, "environment"
        elif variable in of_file:
            text, source = of_file[variable], ".env"
        else:
            text, source = default, "default"
        if variable in secret and is_reference(text):
            source = "secrets manager"
        value = _masked(variable, text) if variable in secret else _without_login(text)
        lines.append(SettingLine(variable=variable, value=value, source=source))
    return lines


def unresolved_secrets(settings: ProviderSettings) -> list[str]:
    """Return a line for each secret by reference that cannot be had."""
    lines: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, ReferredSecret):
            try:
                value.get_secret_value()
            except errors.MarketDataError as error:
                lines.append(f"{field.alias}: {error}")
    return lines


def _defaults() -> Iterator[tuple[str, str]]:
    """Yield every variable and the text of its default; empty if it has none."""
    yield profiles.VARIABLE, profiles.DEVELOPMENT.name
    for field in Settings.model_fields.values():
        default = field.default
        none = default is None or default is PydanticUndefined
        yield field.alias or "", "" if none else str(default)
    for name, dataset in DATASETS.items():
        yield provider_variable(name), next(iter(dataset.sources))
    for name in ROUTED:
        yield route_variable(name), SessionRoute.PER_TICKER.value
    yield "WRDATA_STATE_DIR", ".wrdata"
    yield OF_THE_PROXY, ""
    yield CORRELATION_VARIABLE, ""


def _secret_variables() -> frozenset[str]:
    settings = {
        field.alias or ""
        for field in Settings.model_fields.values()
        if "SecretStr" in str(field.annotation)
    }
    return frozenset({*settings, OF_THE_PROXY})


def _masked(variable: str, text: str) -> str:
    if not text:
        return "not set"
    where = ""
    if is_reference(text):
        try:
            reference = Reference.parse(text)
            where, text = f"{reference}, ", references.SECRETS.value(reference)
        except errors.MarketDataError as error:
            return str(error)
    if variable.endswith("_DATABASE_URL"):
        where += _place(text)
    return f"{where}set ({hashlib.sha256(text.encode()).hexdigest()[:DIGEST]}…)"


def _place(url: str) -> str:
    try:
        return f"{database_url.place(url)}, "
    except errors.ConfigurationError:
        return ""


def _without_login(text: str) -> str:
    """Return an address without user and query, which may hold secrets; other texts as they are."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "not an address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
