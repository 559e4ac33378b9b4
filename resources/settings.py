"""Configuration: every setting, its meaning and its default, read from the environment.

Here: the frozen settings objects, and the messages for an incomplete, misspelt or wrong
environment. Not here: how settings become clients (clients.py), or the local world that fills the
environment in when nothing is configured (sandbox/).
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from marketdata.retention import parse_ages
from resources import database_url

_Kind = TypeVar("_Kind", bound="StoreSettings | ProviderSettings")

OURS = "WRDATA_"
READ_ELSEWHERE = ("WRDATA_DAGSTER_DATABASE_URL", "WRDATA_STATE_DIR", "WRDATA_TEST_DATABASE_URL")
"""Variables that are no settings: dagster.yaml, the local world and the tests read them."""
ALIKE = 0.8
"""How similar two names have to be to count as a misspelling (difflib's ratio)."""
SHOWN = 40
"""Most characters of a wrong value that a message repeats."""
ROUTED = tuple(name for name, dataset in DATASETS.items() if dataset.has_sessions)
"""Datasets with sessions: the route of any other is never read."""


class SessionRoute(StrEnum):
    """How a session of a dataset is requested, where some provider serves whole sessions.

    BULK is one request for the whole market and needs the provider's largest plan;
    PER_TICKER is one request for each ticker and works with any plan.
    """

    BULK = "bulk"
    PER_TICKER = "per_ticker"


def _normalised(url: SecretStr) -> SecretStr:
    """Write the database's URL in the form that every library accepts."""
    try:
        return SecretStr(database_url.normalised(url.get_secret_value()))
    except errors.ConfigurationError as error:
        raise ValueError(str(error)) from None


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if url and not usable:
        message = "it is no address: give it as https://host/path"
        raise ValueError(message)
    return url


def _bucket(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{3,63}", name):
        message = "it is no bucket's name: 3 to 63 letters, digits, dots or hyphens"
        raise ValueError(message)
    return name


_Address = Annotated[str, AfterValidator(_address)]


OF_THE_ENVIRONMENT = SettingsConfigDict(
    frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
)


class StoreSettings(BaseSettings):
    """Where the data are: the settings that reading needs.

    Attributes:
        database_url: ``postgresql://`` URL of the TimescaleDB that holds the data; other forms of
            libpq (``postgres://``, ``host=… dbname=…``) are converted.
        s3_endpoint: URL of an S3-compatible service; empty means AWS itself.
        archive_bucket: Bucket for the Parquet archive.
    """

    model_config = OF_THE_ENVIRONMENT

    database_url: Annotated[
        SecretStr, AfterValidator(_normalised), Field(alias="WRDATA_DATABASE_URL")
    ]
    s3_endpoint: Annotated[_Address, Field(alias="WRDATA_S3_ENDPOINT")] = ""
    archive_bucket: Annotated[str, AfterValidator(_bucket), Field(alias="WRDATA_ARCHIVE_BUCKET")]
    s3_region: Annotated[str, Field(alias="AWS_REGION")] = "us-east-1"
    s3_access_key: Annotated[SecretStr, Field(alias="AWS_ACCESS_KEY_ID")]
    s3_secret_key: Annotated[SecretStr, Field(alias="AWS_SECRET_ACCESS_KEY")]


class ProviderSettings(BaseSettings):
    """How providers are reached: the settings that asking them needs.

    Attributes:
        fmp_requests_per_minute: The FMP key's limit.
        fmp_bulk_interval_s: Seconds between two requests to FMP's bulk endpoints, which have a
            throttle of their own.
        polygon_requests_per_minute: The Polygon key's limit: 5 in the free plan.
        tiingo_requests_per_hour: The Tiingo key's limit: 50 in the free plan.
        tiingo_requests_per_day: The same for a day: 1,000 in the free plan.
    """

    model_config = OF_THE_ENVIRONMENT

    fmp_api_key: Annotated[SecretStr | None, Field(alias="FMP_API_KEY")] = None
    fmp_base_url: Annotated[_Address, Field(alias="FMP_BASE_URL")] = (
        "https://financialmodelingprep.com/stable"
    )
    fmp_requests_per_minute: Annotated[
        float, Field(alias="FMP_REQUESTS_PER_MINUTE", gt=0, le=3000)
    ] = 120
    fmp_bulk_interval_s: Annotated[float, Field(alias="FMP_BULK_INTERVAL_S", ge=0)] = 30
    polygon_api_key: Annotated[SecretStr | None, Field(alias="POLYGON_API_KEY")] = None
    polygon_base_url: Annotated[_Address, Field(alias="POLYGON_BASE_URL")] = (
        "https://api.massive.com"
    )
    polygon_requests_per_minute: Annotated[
        float, Field(alias="POLYGON_REQUESTS_PER_MINUTE", gt=0, le=6000)
    ] = 5
    tiingo_api_key: Annotated[SecretStr | None, Field(alias="TIINGO_API_KEY")] = None
    tiingo_base_url: Annotated[_Address, Field(alias="TIINGO_BASE_URL")] = "https://api.tiingo.com"
    tiingo_requests_per_hour: Annotated[int, Field(alias="TIINGO_REQUESTS_PER_HOUR", ge=1)] = 50
    tiingo_requests_per_day: Annotated[int, Field(alias="TIINGO_REQUESTS_PER_DAY", ge=1)] = 1000
    fred_api_key: Annotated[SecretStr | None, Field(alias="FRED_API_KEY")] = None
    fred_base_url: Annotated[_Address, Field(alias="FRED_BASE_URL")] = (
        "https://api.stlouisfed.org/fred"
    )
    binance_base_url: Annotated[_Address, Field(alias="BINANCE_BASE_URL")] = (
        "https://data-api.binance.vision"
    )
    binance_files_url: Annotated[_Address, Field(alias="BINANCE_FILES_URL")] = (
        "https://data.binance.vision"
    )
    coinbase_base_url: Annotated[_Address, Field(alias="COINBASE_BASE_URL")] = (
        "https://api.exchange.coinbase.com"
    )


class Settings(StoreSettings, ProviderSettings):
    """The environment of one process that runs the pipelines.

    Attributes:
        database_pool_size: Most connections that one process opens.
        retention: How long rows of a dataset stay in the database once their period is archived,
            such as ``minute_bars=400d crypto_trades=90d``; other datasets are never dropped.
        backup_config: Folder of pgBackRest's configuration, such as ``/etc/pgbackrest``; without
            it nothing is backed up by us.
        aggregates: Which engine keeps bars of longer intervals: ``auto`` is ``rollups``, which
            every edition of the database has; ``continuous_aggregates`` need the Community edition.
    """

    database_pool_size: Annotated[int, Field(alias="WRDATA_DATABASE_POOL_SIZE", ge=2, le=100)] = 10
    retention: Annotated[
        Mapping[str, timedelta],
        NoDecode,
        BeforeValidator(parse_ages),
        Field(alias="WRDATA_RETENTION", default_factory=str),
    ]
    backup_config: Annotated[Path | None, Field(alias="WRDATA_BACKUP_CONFIG")] = None
    aggregates: Annotated[
        Literal["auto", "rollups", "continuous_aggregates"], Field(alias="WRDATA_AGGREGATES")
    ] = "auto"


def provider_of(dataset: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the provider of a dataset: WRDATA_<DATASET>_PROVIDER, or the first of its sources.

    Args:
        dataset: Such as ``minute_bars``, whose variable is WRDATA_MINUTE_BARS_PROVIDER.
        environment: Used instead of the process's own.

    Raises:
        ConfigurationError: The configured provider does not serve the dataset.
    """
    choices = list(DATASETS[dataset].sources)
    variable = provider_variable(dataset)
    chosen = (os.environ if environment is None else environment).get(variable) or choices[0]
    if chosen not in choices:
        message = f"{variable} is {chosen!r}, which does not serve {dataset}: set it to one of "
        raise errors.ConfigurationError(message + ", ".join(choices))
    return chosen


def provider_variable(dataset: str) -> str:
    """Return the variable that sets the provider of a dataset."""
    return f"{OURS}{dataset.upper()}_PROVIDER"


def route_of(dataset: str) -> SessionRoute:
    """Return how a session of a dataset is requested: WRDATA_<DATASET>_ROUTE, or ticker by ticker.

    Raises:
        ConfigurationError: There is no such route.
    """
    variable = route_variable(dataset)
    chosen = os.environ.get(variable) or SessionRoute.PER_TICKER
    if chosen not in set(SessionRoute):
        choices = " or ".join(repr(route.value) for route in SessionRoute)
        raise errors.ConfigurationError(f"{variable} is {_shown(chosen)}: it should be {choices}")
    return SessionRoute(chosen)


def route_variable(dataset: str) -> str:
    """Return the variable that sets the route of a dataset's sessions."""
    return f"{OURS}{dataset.upper()}_ROUTE"


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


def wrong_values() -> list[str]:
    """Return a line for each variable of the environment with an invalid value.

    Missing variables are not reported here: the local world may provide them.
    """
    lines: list[str] = []
    try:
        Settings()  # pyright: ignore[reportCallIssue]  # the environment has the arguments
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


def _read(settings_class: type[_Kind]) -> _Kind:
    try:
        return settings_class()  # pyright: ignore[reportCallIssue]  # the environment has the arguments
    except ValidationError as error:
        faults = list(_faults(error))
        lines = [_fault_line(fault) for fault in faults]
        if any(fault["type"] == "missing" for fault in faults):
            lines += unread_variables(os.environ)
            cure = (
                "Set what is missing, or use the local world: wrdata up, and "
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
    return f"{name} is {_shown(fault['input'])}: {why}"


def _shown(value: object) -> str:
    """Return a wrong value as a message repeats it."""
    return repr(str(value)[:SHOWN])
