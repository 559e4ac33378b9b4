"""Every setting: its variable, its meaning, its default, and what a wrong value is.

Here: the frozen settings objects, and who serves a dataset. Not here: reading them from the
environment, and messages (reading.py), where a variable comes from (layers.py), or how settings
become clients (resources/clients.py).
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from marketdata.retention import parse_ages
from resources import database_url
from resources.settings import layers, references
from resources.settings.profiles import profile_in_force
from resources.settings.references import Reference, is_reference
from resources.telemetry import masks
from resources.telemetry.logs import LogFormat, LogLevel

OURS = "WRDATA_"
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


class ReferredSecret(SecretStr):
    """A secret by reference (references.py), which is asked for each time it is needed.

    ``get_secret_value`` raises ConfigurationError or StorageUnavailableError if it cannot be had.
    """

    def get_secret_value(self) -> str:
        secret = references.SECRETS.value(self.reference)
        masks.learn([secret])
        return secret

    @property
    def reference(self) -> Reference:
        """Where the secret lies; fit to be shown."""
        return Reference.parse(self._secret_value)


class ReferredDatabaseUrl(ReferredSecret):
    """A database's URL by reference."""

    def get_secret_value(self) -> str:
        try:
            return _accepted_url(super().get_secret_value())
        except ValueError as error:
            raise errors.ConfigurationError(f"{self.reference}: {error}") from None


def _secret(given: SecretStr) -> SecretStr:
    text = given.get_secret_value()
    if is_reference(text):
        return _referred(ReferredSecret(text))
    masks.learn([text])
    return given


def _database(given: SecretStr) -> SecretStr:
    text = given.get_secret_value()
    if is_reference(text):
        return _referred(ReferredDatabaseUrl(text))
    return SecretStr(_accepted_url(text))


def _referred(secret: ReferredSecret) -> ReferredSecret:
    try:
        _ = secret.reference
    except errors.ConfigurationError as error:
        raise ValueError(str(error)) from None
    return secret


def _accepted_url(url: str) -> str:
    """Write a database's URL in the form that every library accepts; refuse what may not be."""
    try:
        normalised = database_url.normalised(url)
        profile = profile_in_force()
    except errors.ConfigurationError as error:
        raise ValueError(str(error)) from None
    if not (profile.allows_unverified_database or database_url.is_verified(normalised)):
        message = (
            f"{profile.name} demands a verified server: add "
            "?sslmode=verify-full&sslrootcert=/path/to/authority.crt to the URL"
        )
        raise ValueError(message)
    masks.learn([urlsplit(normalised).password or ""])
    return normalised


def _address(url: str) -> str:
    scheme = _scheme(url)
    if url and scheme not in {"http", "https"}:
        message = "it is no address: give it as https://host/path"
        raise ValueError(message)
    if scheme == "http" and not _plain_http():
        message = "keys do not travel by http:// in production: give it as https://host/path"
        raise ValueError(message)
    return url


def _scheme(url: str) -> str:
    """Return the scheme of an address with a host and a possible port; otherwise nothing."""
    try:
        parts = urlsplit(url)
        port_is_possible = parts.port is None or parts.port > 0
    except ValueError:
        return ""
    return parts.scheme if parts.hostname and port_is_possible else ""


def _plain_http() -> bool:
    try:
        return profile_in_force().allows_plain_http
    except errors.ConfigurationError as error:
        raise ValueError(str(error)) from None


def _bucket(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{3,63}", name):
        message = "it is no bucket's name: 3 to 63 letters, digits, dots or hyphens"
        raise ValueError(message)
    return name


def _bucket_or_none(name: str) -> str:
    return _bucket(name) if name else name


def _webhook(given: SecretStr) -> SecretStr:
    secret = _secret(given)
    if not isinstance(secret, ReferredSecret):
        _address(secret.get_secret_value())
    return secret


_REDIS = re.compile(r"rediss?://[^/]+")


def _redis(given: SecretStr) -> SecretStr:
    secret = _secret(given)
    if not isinstance(secret, ReferredSecret) and not _REDIS.match(secret.get_secret_value()):
        message = "it is no URL of Redis, such as redis://:password@host:6379/0"
        raise ValueError(message)
    return secret


_Address = Annotated[str, AfterValidator(_address)]
_Secret = Annotated[SecretStr, AfterValidator(_secret)]
_DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]


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

    database_url: Annotated[_DatabaseUrl, Field(alias="WRDATA_DATABASE_URL")]
    s3_endpoint: Annotated[_Address, Field(alias="WRDATA_S3_ENDPOINT")] = ""
    archive_bucket: Annotated[str, AfterValidator(_bucket), Field(alias="WRDATA_ARCHIVE_BUCKET")]
    s3_region: Annotated[str, Field(alias="AWS_REGION")] = "us-east-1"
    s3_access_key: Annotated[_Secret, Field(alias="AWS_ACCESS_KEY_ID")]
    s3_secret_key: Annotated[_Secret, Field(alias="AWS_SECRET_ACCESS_KEY")]


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

    fmp_api_key: Annotated[_Secret | None, Field(alias="FMP_API_KEY")] = None
    fmp_base_url: Annotated[_Address, Field(alias="FMP_BASE_URL")] = (
        "https://financialmodelingprep.com/stable"
    )
    fmp_requests_per_minute: Annotated[
        float, Field(alias="FMP_REQUESTS_PER_MINUTE", gt=0, le=3000)
    ] = 120
    fmp_bulk_interval_s: Annotated[float, Field(alias="FMP_BULK_INTERVAL_S", ge=0)] = 30
    polygon_api_key: Annotated[_Secret | None, Field(alias="POLYGON_API_KEY")] = None
    polygon_base_url: Annotated[_Address, Field(alias="POLYGON_BASE_URL")] = (
        "https://api.massive.com"
    )
    polygon_requests_per_minute: Annotated[
        float, Field(alias="POLYGON_REQUESTS_PER_MINUTE", gt=0, le=6000)
    ] = 5
    tiingo_api_key: Annotated[_Secret | None, Field(alias="TIINGO_API_KEY")] = None
    tiingo_base_url: Annotated[_Address, Field(alias="TIINGO_BASE_URL")] = "https://api.tiingo.com"
    tiingo_requests_per_hour: Annotated[int, Field(alias="TIINGO_REQUESTS_PER_HOUR", ge=1)] = 50
    tiingo_requests_per_day: Annotated[int, Field(alias="TIINGO_REQUESTS_PER_DAY", ge=1)] = 1000
    fred_api_key: Annotated[_Secret | None, Field(alias="FRED_API_KEY")] = None
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


class TelemetrySettings(BaseSettings):
    """What a process says of its work.

    Attributes:
        log_level: Lines below it are not logged: ``debug`` logs every request to a provider.
        log_format: ``json``, ``console`` or ``auto``: readable lines on a terminal, JSON elsewhere,
            and in a command nothing but warnings, as plain sentences.
    """

    model_config = OF_THE_ENVIRONMENT

    log_level: Annotated[LogLevel, BeforeValidator(str.lower), Field(alias="WRDATA_LOG_LEVEL")] = (
        LogLevel.INFO
    )
    log_format: Annotated[
        LogFormat, BeforeValidator(str.lower), Field(alias="WRDATA_LOG_FORMAT")
    ] = LogFormat.AUTO


class Settings(StoreSettings, ProviderSettings, TelemetrySettings):
    """The environment of one process that runs the pipelines.

    Attributes:
        dagster_database_url: Where Dagster keeps runs and events (``dagster.yaml``), as
            ``postgresql://``; without it, schema ``dagster`` of the same database.
        database_pool_size: Most connections that one process opens.
        retention: How long rows of a dataset stay in the database once their period is archived,
            such as ``minute_bars=400d crypto_trades=90d``; other datasets are never dropped.
        backup_config: Folder of pgBackRest's configuration, such as ``/etc/pgbackrest``; without
            it nothing is backed up by us.
        aggregates: Which engine keeps bars of longer intervals: ``auto`` is ``rollups``, which
            every edition of the database has; ``continuous_aggregates`` need the Community edition.
        audit_bucket: Bucket with Object Lock for journal and anchors of the audit log, on the
            server of the archive's bucket; empty means that there are none.
        audit_lock_mode: How they are locked: ``GOVERNANCE`` can be lifted with a special
            permission, ``COMPLIANCE`` by nobody.
        audit_lock_days: How long they are locked; the default is seven years.
        redis_url: Redis that holds the queues for workers on other machines, as ``rediss://`` or
            ``redis://``; nothing else needs it.
        alert_webhook_url: Webhook that takes Slack's JSON: it is told of each run that fails for
            good, and of dead letters that wait for a person. Nobody is told where it is not set.
    """

    dagster_database_url: Annotated[
        _DatabaseUrl | None, Field(alias="WRDATA_DAGSTER_DATABASE_URL")
    ] = None
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
    audit_bucket: Annotated[
        str, AfterValidator(_bucket_or_none), Field(alias="WRDATA_AUDIT_BUCKET")
    ] = ""
    audit_lock_mode: Annotated[
        Literal["GOVERNANCE", "COMPLIANCE"], Field(alias="WRDATA_AUDIT_LOCK_MODE")
    ] = "GOVERNANCE"
    audit_lock_days: Annotated[int, Field(alias="WRDATA_AUDIT_LOCK_DAYS", ge=1, le=36_500)] = 2557
    redis_url: Annotated[
        Annotated[SecretStr, AfterValidator(_redis)] | None, Field(alias="WRDATA_REDIS_URL")
    ] = None
    alert_webhook_url: Annotated[
        Annotated[SecretStr, AfterValidator(_webhook)] | None,
        Field(alias="WRDATA_ALERT_WEBHOOK_URL"),
    ] = None

    @property
    def dagster_url(self) -> str:
        """The URL of Dagster's database, with its password: a schema of ours, or its own."""
        if self.dagster_database_url is not None:
            return self.dagster_database_url.get_secret_value()
        return database_url.in_schema(self.database_url.get_secret_value(), "dagster")


def database_url_in(variable: str) -> str:
    """Return the URL of a database in a variable, its secret resolved, in the common form.

    Raises:
        ConfigurationError: It is no URL, is refused by the profile, or is a secret that cannot be
            had.
        StorageUnavailableError: Its secret cannot be had now.
    """
    try:
        return _database(SecretStr(layers.variables().get(variable, ""))).get_secret_value()
    except ValueError as error:
        raise errors.ConfigurationError(f"{variable}: {error}") from None


def provider_of(dataset: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the provider of a dataset: WRDATA_<DATASET>_PROVIDER, or the first of its sources.

    Args:
        dataset: Such as ``minute_bars``, whose variable is WRDATA_MINUTE_BARS_PROVIDER.
        environment: Used instead of the process's own and `.env`.

    Raises:
        ConfigurationError: The configured provider does not serve the dataset.
    """
    choices = list(DATASETS[dataset].sources)
    variable = provider_variable(dataset)
    chosen = (layers.variables() if environment is None else environment).get(variable) or choices[
        0
    ]
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
    chosen = layers.variables().get(variable) or SessionRoute.PER_TICKER
    if chosen not in set(SessionRoute):
        choices = " or ".join(repr(route.value) for route in SessionRoute)
        raise errors.ConfigurationError(f"{variable} is {shown(chosen)}: it should be {choices}")
    return SessionRoute(chosen)


def route_variable(dataset: str) -> str:
    """Return the variable that sets the route of a dataset's sessions."""
    return f"{OURS}{dataset.upper()}_ROUTE"


def shown(value: object) -> str:
    """Return a wrong value as a message repeats it."""
    return repr(str(value)[:SHOWN])
