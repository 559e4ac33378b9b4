"""Fixtures of the recovery's tests: an open database, a bucket, and the environment of both."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from resources.settings import Settings, read_settings
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from tests.storage.conftest import instrument_ids, object_store, timescale

__all__ = ["instrument_ids", "object_store", "timescale"]


@pytest.fixture
def settings(
    timescale: Timescale,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """The environment of a configured user, and what is read of it."""
    s3 = object_store.settings
    for name, value in {
        "WRDATA_DATABASE_URL": timescale.url,
        "WRDATA_S3_ENDPOINT": s3.endpoint,
        "WRDATA_ARCHIVE_BUCKET": s3.bucket,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_REGION": s3.region,
        "FMP_API_KEY": "k" * 32,
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "WRDATA_STATE_DIR": str(tmp_path / "world"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WRDATA_DAGSTER_DATABASE_URL", raising=False)
    return read_settings()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster of its own."""
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened
