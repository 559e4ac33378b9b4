"""The S3 server does what the archive needs."""

import io

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.fixtures.world import BucketSettings


def _client(bucket: BucketSettings, *, secret_key: str | None = None):  # noqa: ANN202 - boto3's types are made at run time
    return boto3.client(
        "s3",
        endpoint_url=bucket.endpoint,
        region_name=bucket.region,
        aws_access_key_id=bucket.access_key,
        aws_secret_access_key=secret_key or bucket.secret_key,
        config=Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def test_objects_are_put_read_listed_and_deleted(bucket: BucketSettings) -> None:
    """The everyday calls."""
    client = _client(bucket)
    client.put_object(Bucket=bucket.bucket, Key="a/b.parquet", Body=b"bytes")
    assert client.get_object(Bucket=bucket.bucket, Key="a/b.parquet")["Body"].read() == b"bytes"
    assert client.head_object(Bucket=bucket.bucket, Key="a/b.parquet")["ContentLength"] == 5
    listed = client.list_objects_v2(Bucket=bucket.bucket, Prefix="a/").get("Contents", [])
    assert [entry.get("Key") for entry in listed] == ["a/b.parquet"]
    client.delete_object(Bucket=bucket.bucket, Key="a/b.parquet")
    assert client.list_objects_v2(Bucket=bucket.bucket).get("Contents") is None
    client.close()


def test_a_multipart_upload_arrives_whole(bucket: BucketSettings) -> None:
    """Three parts, read back as one."""
    client, content = _client(bucket), bytes(range(256)) * 48_000
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    client.upload_fileobj(io.BytesIO(content), bucket.bucket, "big", Config=parts)
    assert client.get_object(Bucket=bucket.bucket, Key="big")["Body"].read() == content
    client.close()


def test_a_wrong_secret_is_refused(bucket: BucketSettings) -> None:
    """The keys are checked, though the server listens on loopback only."""
    client = _client(bucket, secret_key="x" * 40)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client.list_objects_v2(Bucket=bucket.bucket)
    client.close()


def test_keys_have_the_lengths_of_real_ones(bucket: BucketSettings) -> None:
    """Clients that check their shape accept them."""
    assert (len(bucket.access_key), len(bucket.secret_key)) == (20, 40)
