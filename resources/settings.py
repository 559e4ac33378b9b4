"""Configuration: every setting, its meaning and its default, read from the environment.

Here: one frozen settings object and the error for a person whose environment is incomplete.
Not here: how settings become clients (wiring.py), or the local world that fills the
environment in when nothing is configured (sandbox/).
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from marketdata.recovery import errors


class DailyBarsRoute(StrEnum):
    """How the daily schedule asks for a session.

    BULK is one request for the whole market and needs the provider's largest plan;
    PER_TICKER is one request for each ticker and needs none.
    """

    BULK = "bulk"
    PER_TICKER = "per_ticker"


class Settings(BaseSettings):
    """The environment of one process.

    Attributes:
        database_url: ``postgresql://`` URL of the TimescaleDB that holds the data.
        s3_endpoint: URL of an S3-compatible service; empty means AWS itself.
        archive_bucket: Bucket for the Parquet archive.
        fmp_requests_per_minute: The FMP key's limit.
        fmp_bulk_interval_s: Seconds between two requests to FMP's bulk endpoints, which have a
            throttle of their own.
        daily_bars_route: Which way the daily schedule takes.
        database_pool_size: Most connections that one process opens.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    database_url: Annotated[SecretStr, Field(alias="WRDATA_DATABASE_URL")]
    s3_endpoint: Annotated[str, Field(alias="WRDATA_S3_ENDPOINT")] = ""
    archive_bucket: Annotated[str, Field(alias="WRDATA_ARCHIVE_BUCKET", min_length=3)]
    s3_region: Annotated[str, Field(alias="AWS_REGION")] = "us-east-1"
    s3_access_key: Annotated[SecretStr, Field(alias="AWS_ACCESS_KEY_ID")]
    s3_secret_key: Annotated[SecretStr, Field(alias="AWS_SECRET_ACCESS_KEY")]
    fmp_api_key: Annotated[SecretStr, Field(alias="FMP_API_KEY")]
    fmp_base_url: Annotated[str, Field(alias="FMP_BASE_URL", pattern="^https?://")] = (
        "https://financialmodelingprep.com/stable"
    )
    fmp_requests_per_minute: Annotated[
        float, Field(alias="FMP_REQUESTS_PER_MINUTE", gt=0, le=3000)
    ] = 120
    fmp_bulk_interval_s: Annotated[float, Field(alias="FMP_BULK_INTERVAL_S", ge=0)] = 30
    daily_bars_route: Annotated[DailyBarsRoute, Field(alias="WRDATA_DAILY_BARS_ROUTE")] = (
        DailyBarsRoute.PER_TICKER
    )
    database_pool_size: Annotated[int, Field(alias="WRDATA_DATABASE_POOL_SIZE", ge=2, le=100)] = 10


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: Names every variable that is missing or wrong, in one line.
    """
    try:
        return Settings()  # pyright: ignore[reportCallIssue]  # the environment has the arguments
    except ValidationError as error:
        faults = "; ".join(
            f"{fault['loc'][0]} is not set"
            if fault["type"] == "missing"
            else f"{fault['loc'][0]}: {fault['msg']}"
            for fault in error.errors(include_input=False)
        )
        message = f"{faults}. Set it in the environment, or use the local world: wrdata up"
        raise errors.ConfigurationError(message) from None
