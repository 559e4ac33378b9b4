"""Configuration: every setting, its meaning and its default, read from the environment.

Here: the frozen settings objects and the error for a person whose environment is incomplete.
Not here: how settings become clients (wiring.py), or the local world that fills the
environment in when nothing is configured (sandbox/).
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.datasets import DAILY_BAR_SOURCES, DATASETS
from marketdata.recovery import errors
from marketdata.retention import parse_ages
from resources import database_url

_Kind = TypeVar("_Kind", bound="StoreSettings")


class DailyBarsRoute(StrEnum):
    """How the daily schedule asks for a session.

    BULK is one request for the whole market and needs the provider's largest plan;
    PER_TICKER is one request for each ticker and needs none.
    """

    BULK = "bulk"
    PER_TICKER = "per_ticker"


def _normalised(url: SecretStr) -> SecretStr:
    """Write the database's URL so that every library which reads it takes it."""
    try:
        return SecretStr(database_url.normalised(url.get_secret_value()))
    except errors.ConfigurationError as error:
        raise ValueError(str(error)) from None


class StoreSettings(BaseSettings):
    """Where the data are: all that somebody who only reads them has to name.

    Attributes:
        database_url: ``postgresql://`` URL of the TimescaleDB that holds the data; what else libpq
            takes (``postgres://``, ``host=… dbname=…``) is written so.
        s3_endpoint: URL of an S3-compatible service; empty means AWS itself.
        archive_bucket: Bucket for the Parquet archive.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    database_url: Annotated[
        SecretStr, AfterValidator(_normalised), Field(alias="WRDATA_DATABASE_URL")
    ]
    s3_endpoint: Annotated[str, Field(alias="WRDATA_S3_ENDPOINT")] = ""
    archive_bucket: Annotated[str, Field(alias="WRDATA_ARCHIVE_BUCKET", min_length=3)]
    s3_region: Annotated[str, Field(alias="AWS_REGION")] = "us-east-1"
    s3_access_key: Annotated[SecretStr, Field(alias="AWS_ACCESS_KEY_ID")]
    s3_secret_key: Annotated[SecretStr, Field(alias="AWS_SECRET_ACCESS_KEY")]


class Settings(StoreSettings):
    """The environment of one process that runs the pipelines.

    Attributes:
        fmp_requests_per_minute: The FMP key's limit.
        fmp_bulk_interval_s: Seconds between two requests to FMP's bulk endpoints, which have a
            throttle of their own.
        polygon_requests_per_minute: The Polygon key's limit: 5 in the free plan.
        tiingo_requests_per_hour: The Tiingo key's limit: 50 in the free plan.
        tiingo_requests_per_day: The same for a day: 1,000 in the free plan.
        daily_bars_route: Which way the daily schedule takes.
        database_pool_size: Most connections that one process opens.
        retention: How long rows of a dataset stay in the database once their period is archived,
            such as ``minute_bars=400d crypto_trades=90d``; of what is not named nothing is dropped.
        aggregates: Which engine keeps bars of coarser intervals: ``auto`` is ``rollups``, which
            every edition of the database has; ``continuous_aggregates`` need the Community edition.
    """

    fmp_api_key: Annotated[SecretStr, Field(alias="FMP_API_KEY")]
    fmp_base_url: Annotated[str, Field(alias="FMP_BASE_URL", pattern="^https?://")] = (
        "https://financialmodelingprep.com/stable"
    )
    fmp_requests_per_minute: Annotated[
        float, Field(alias="FMP_REQUESTS_PER_MINUTE", gt=0, le=3000)
    ] = 120
    fmp_bulk_interval_s: Annotated[float, Field(alias="FMP_BULK_INTERVAL_S", ge=0)] = 30
    polygon_api_key: Annotated[SecretStr | None, Field(alias="POLYGON_API_KEY")] = None
    polygon_base_url: Annotated[str, Field(alias="POLYGON_BASE_URL", pattern="^https?://")] = (
        "https://api.massive.com"
    )
    polygon_requests_per_minute: Annotated[
        float, Field(alias="POLYGON_REQUESTS_PER_MINUTE", gt=0, le=6000)
    ] = 5
    tiingo_api_key: Annotated[SecretStr | None, Field(alias="TIINGO_API_KEY")] = None
    tiingo_base_url: Annotated[str, Field(alias="TIINGO_BASE_URL", pattern="^https?://")] = (
        "https://api.tiingo.com"
    )
    tiingo_requests_per_hour: Annotated[int, Field(alias="TIINGO_REQUESTS_PER_HOUR", ge=1)] = 50
    tiingo_requests_per_day: Annotated[int, Field(alias="TIINGO_REQUESTS_PER_DAY", ge=1)] = 1000
    fred_api_key: Annotated[SecretStr | None, Field(alias="FRED_API_KEY")] = None
    fred_base_url: Annotated[str, Field(alias="FRED_BASE_URL", pattern="^https?://")] = (
        "https://api.stlouisfed.org/fred"
    )
    binance_base_url: Annotated[str, Field(alias="BINANCE_BASE_URL", pattern="^https?://")] = (
        "https://data-api.binance.vision"
    )
    binance_files_url: Annotated[str, Field(alias="BINANCE_FILES_URL", pattern="^https?://")] = (
        "https://data.binance.vision"
    )
    coinbase_base_url: Annotated[str, Field(alias="COINBASE_BASE_URL", pattern="^https?://")] = (
        "https://api.exchange.coinbase.com"
    )
    daily_bars_route: Annotated[DailyBarsRoute, Field(alias="WRDATA_DAILY_BARS_ROUTE")] = (
        DailyBarsRoute.PER_TICKER
    )
    database_pool_size: Annotated[int, Field(alias="WRDATA_DATABASE_POOL_SIZE", ge=2, le=100)] = 10
    retention: Annotated[
        Mapping[str, timedelta],
        NoDecode,
        BeforeValidator(parse_ages),
        Field(alias="WRDATA_RETENTION", default_factory=str),
    ]
    aggregates: Annotated[
        Literal["auto", "rollups", "continuous_aggregates"], Field(alias="WRDATA_AGGREGATES")
    ] = "auto"


def provider_of(dataset: str, environment: Mapping[str, str] | None = None) -> str:
    """Return which provider serves a dataset: WRDATA_<DATASET>_PROVIDER, or the first there is.

    Args:
        dataset: Such as ``minute_bars``, whose variable is WRDATA_MINUTE_BARS_PROVIDER.
        environment: Instead of the process's own.

    Raises:
        ConfigurationError: The provider that is named does not serve the dataset.
    """
    choices = list(
        DAILY_BAR_SOURCES if dataset == DAILY_BARS_DATASET else DATASETS[dataset].sources
    )
    variable = f"WRDATA_{dataset.upper()}_PROVIDER"
    chosen = (os.environ if environment is None else environment).get(variable) or choices[0]
    if chosen not in choices:
        message = f"{variable} is {chosen!r}, which does not serve {dataset}: set it to one of "
        raise errors.ConfigurationError(message + ", ".join(choices))
    return chosen


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: Names every variable that is missing or wrong, in one line.
    """
    return _read(Settings)


def read_store_settings() -> StoreSettings:
    """Read where the data are from the environment; providers need not be configured.

    Raises:
        ConfigurationError: Names every variable that is missing or wrong, in one line.
    """
    return _read(StoreSettings)


def _read(kind: type[_Kind]) -> _Kind:
    try:
        return kind()  # pyright: ignore[reportCallIssue]  # the environment has the arguments
    except ValidationError as error:
        faults = "; ".join(
            f"{fault['loc'][0]} is not set"
            if fault["type"] == "missing"
            else f"{fault['loc'][0]}: {fault['msg']}"
            for fault in error.errors(include_input=False)
        )
        message = f"{faults}. Set it in the environment, or use the local world: wrdata up"
        raise errors.ConfigurationError(message) from None
