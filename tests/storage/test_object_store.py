"""The object store against a real S3 server."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from marketdata.recovery import errors
from resources.storage.object_store import ObjectStore, S3Settings
from tests.fixtures.world import BucketSettings, remove_bucket


def test_a_file_comes_back_byte_for_byte(object_store: ObjectStore, tmp_path: Path) -> None:
    """Small files and files sent in parts alike."""
    for size in (0, 1_000, 20_000_000):
        content = os.urandom(size)
        sent, back = tmp_path / "sent", tmp_path / "back"
        sent.write_bytes(content)

        object_store.upload_file(sent, f"some/{size}.bin")
        object_store.download_file(f"some/{size}.bin", back)

        assert back.read_bytes() == content
        assert object_store.stat(f"some/{size}.bin").bytes == size


def test_what_is_there_is_listed_by_prefix(object_store: ObjectStore) -> None:
    """Keys come in order; an object is gone after its deletion, and deleting twice is fine."""
    for key in ("a/2", "a/1", "b/1"):
        object_store.put_bytes(key, key.encode(), content_type="text/plain")

    assert [stored.key for stored in object_store.list("a/")] == ["a/1", "a/2"]
    assert object_store.get("b/1").content == b"b/1"
    assert next(object_store.list("b/")).modified_at.tzinfo is not None
    object_store.delete("a/1")
    object_store.delete("a/1")
    assert (object_store.exists("a/1"), object_store.exists("a/2")) == (False, True)


def test_a_missing_object_is_named(object_store: ObjectStore, tmp_path: Path) -> None:
    """The cure is not to try again."""
    with pytest.raises(errors.StorageConflictError, match="has no object no/such"):
        object_store.stat("no/such")
    with pytest.raises(errors.StorageConflictError, match="has no object no/such"):
        object_store.download_file("no/such", tmp_path / "back")


def test_a_bucket_is_made_once(object_store: ObjectStore, bucket: BucketSettings) -> None:
    """The first call makes it, the second finds it."""
    other = ObjectStore(
        replace(object_store.settings, bucket=f"{object_store.settings.bucket}-other")
    )

    assert object_store.ensure_bucket() is False
    assert other.ensure_bucket() is True
    assert other.ensure_bucket() is False
    remove_bucket(bucket, other.settings.bucket)


def test_a_missing_bucket_is_named_with_the_setting(object_store: ObjectStore) -> None:
    """A typo in the bucket's name shows which setting to correct."""
    wrong = ObjectStore(replace(object_store.settings, bucket="no-such-bucket"))

    with pytest.raises(errors.StorageConflictError, match=r"no-such-bucket.*WRDATA_ARCHIVE_BUCKET"):
        list(wrong.list())


def test_refused_keys_are_not_shown(object_store: ObjectStore, tmp_path: Path) -> None:
    """A person has to correct the key; no part of it is in the text."""
    refused = ObjectStore(
        replace(object_store.settings, access_key="AKIAWRONGWRONGWRONG0", secret_key="s" * 40)
    )
    (tmp_path / "sent").write_bytes(b"x")

    for attempt in (
        lambda: refused.get("a").content,
        lambda: refused.upload_file(tmp_path / "sent", "a"),
    ):
        with pytest.raises(errors.StorageConflictError, match="AWS_ACCESS_KEY_ID") as caught:
            attempt()
        assert "AKIAWRONG" not in str(caught.value)
        assert "ssss" not in str(caught.value)


def test_a_server_that_is_gone_may_come_back(object_store: ObjectStore) -> None:
    """No server listens at the endpoint."""
    gone = ObjectStore(replace(object_store.settings, endpoint="http://127.0.0.1:1"))

    with pytest.raises(errors.StorageUnavailableError, match="endpoint"):
        gone.exists("a")


def test_settings_hide_their_keys() -> None:
    """A logged settings object shows no secret."""
    shown = repr(S3Settings(bucket="b", access_key="AKIATOPSECRET", secret_key="topsecret"))

    assert "SECRET" not in shown.upper().replace("SECRET_KEY", "")


@pytest.mark.parametrize(
    ("endpoint", "is_aws"),
    [
        ("", True),
        ("https://s3.eu-central-1.amazonaws.com", True),
        ("https://ams3.digitaloceanspaces.com", False),
        ("http://127.0.0.1:9000", False),
    ],
)
def test_aws_is_told_from_the_others(endpoint: str, is_aws: bool) -> None:
    """Only AWS gets boto3's trailing checksums and virtual-hosted addresses."""
    settings = S3Settings(bucket="b", access_key="a", secret_key="s", endpoint=endpoint)

    assert settings.is_aws is is_aws
