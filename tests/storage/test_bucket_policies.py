"""The bucket's policies of deploy/object_storage/policies, each tried by what it is refused."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from machine.processes import LOOPBACK, NO_AUTHORITIES
from resources.storage.object_store import ObjectStore, S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.servers

POLICIES = Path(__file__).parents[2] / "deploy" / "object_storage" / "policies"
BUCKETS = {"AUDIT-BUCKET": "audit-anchors", "BUCKET": "market-data"}
REGION = "us-east-1"
Keys = Mapping[str, tuple[str, str]]
As = Callable[[str], "S3Client"]


def policy(role: str) -> dict[str, Any]:
    """Return a role's policy for the buckets of this test."""
    text = (POLICIES / f"{role}.json").read_text()
    for placeholder, bucket in BUCKETS.items():
        text = text.replace(f":::{placeholder}", f":::{bucket}")
    return json.loads(text)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server that enforces policies, and has both buckets with an object each."""
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        root = client_of(url, "a", "s")
        root.create_bucket(Bucket="market-data")
        root.create_bucket(Bucket="audit-anchors", ObjectLockEnabledForBucket=True)
        for key in ("iceberg/archive/a.parquet", "raw/fmp/ab/answer.gz", "other"):
            root.put_object(Bucket="market-data", Key=key, Body=b"x")
        root.put_object(Bucket="audit-anchors", Key="1", Body=b"x")
        yield url
    finally:
        httpx.post(f"{url}/moto-api/reset-auth", content="Infinity", verify=NO_AUTHORITIES)
        server.stop()


def client_of(address: str, access_key: str, secret_key: str) -> "S3Client":
    """Return a client with a key."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )


@pytest.fixture(scope="module")
def keys(address: str) -> Keys:
    """Keys of users who have a role's policy and nothing else."""
    iam = boto3.client(
        "iam",
        endpoint_url=address,
        region_name=REGION,
        aws_access_key_id="a",
        aws_secret_access_key="s",
    )
    made: dict[str, tuple[str, str]] = {}
    for role in ("loader", "reader", "audit_anchor"):
        iam.create_user(UserName=role)
        iam.put_user_policy(UserName=role, PolicyName=role, PolicyDocument=json.dumps(policy(role)))
        key = iam.create_access_key(UserName=role)["AccessKey"]
        made[role] = (key["AccessKeyId"], key["SecretAccessKey"])
    # From here on keys and policies count.
    httpx.post(
        f"{address}/moto-api/reset-auth", content="0", verify=NO_AUTHORITIES
    ).raise_for_status()
    return made


@pytest.fixture(scope="module")
def as_role(address: str, keys: Keys) -> As:
    """Clients of these users."""
    return lambda role: client_of(address, *keys[role])


def put(bucket: str, key: str, **more: Any) -> Callable[["S3Client"], object]:
    """Return what writes an object."""
    return lambda client: client.put_object(Bucket=bucket, Key=key, Body=b"y", **more)


def get(bucket: str, key: str) -> Callable[["S3Client"], object]:
    """Return what reads an object."""
    return lambda client: client.get_object(Bucket=bucket, Key=key)


def delete(bucket: str, key: str) -> Callable[["S3Client"], object]:
    """Return what deletes an object."""
    return lambda client: client.delete_object(Bucket=bucket, Key=key)


def listing(bucket: str, prefix: str) -> Callable[["S3Client"], object]:
    """Return what lists objects."""
    return lambda client: client.list_objects_v2(Bucket=bucket, Prefix=prefix)


def locked(client: "S3Client") -> object:
    """Write an anchor that nobody can delete."""
    return client.put_object(
        Bucket="audit-anchors",
        Key="2",
        Body=b"y",
        ObjectLockMode="GOVERNANCE",
        ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=1),
        ChecksumAlgorithm="SHA256",
    )


@pytest.mark.parametrize(
    ("role", "act"),
    [
        ("loader", put("market-data", "iceberg/archive/b.parquet")),
        ("loader", get("market-data", "iceberg/archive/a.parquet")),
        ("loader", delete("market-data", "iceberg/archive/gone.parquet")),
        ("loader", put("market-data", "raw/fmp/ab/new.gz")),
        ("loader", get("market-data", "raw/fmp/ab/answer.gz")),
        ("loader", listing("market-data", "raw/")),
        ("reader", get("market-data", "iceberg/archive/a.parquet")),
        ("reader", listing("market-data", "iceberg/")),
        ("audit_anchor", locked),
    ],
)
def test_a_role_can_do_its_work(
    as_role: As, role: str, act: Callable[["S3Client"], object]
) -> None:
    """What the code asks of the bucket for it."""
    act(as_role(role))


@pytest.mark.parametrize(
    ("role", "act"),
    [
        ("loader", delete("market-data", "raw/fmp/ab/answer.gz")),
        ("loader", put("market-data", "other")),
        ("loader", get("audit-anchors", "1")),
        ("loader", put("audit-anchors", "1")),
        ("loader", lambda c: c.delete_bucket(Bucket="market-data")),
        ("reader", put("market-data", "iceberg/archive/b.parquet")),
        ("reader", delete("market-data", "iceberg/archive/a.parquet")),
        ("reader", get("market-data", "raw/fmp/ab/answer.gz")),
        ("reader", get("audit-anchors", "1")),
        ("audit_anchor", delete("audit-anchors", "1")),
        ("audit_anchor", get("audit-anchors", "1")),
        ("audit_anchor", get("market-data", "iceberg/archive/a.parquet")),
        ("audit_anchor", put("market-data", "iceberg/archive/a.parquet")),
        ("audit_anchor", lambda c: c.delete_bucket(Bucket="audit-anchors")),
    ],
)
def test_a_role_is_refused_the_rest(
    as_role: As, role: str, act: Callable[["S3Client"], object]
) -> None:
    """Raw answers and anchors stay, whatever a program does."""
    with pytest.raises(ClientError, match="AccessDenied"):
        act(as_role(role))


def test_the_stores_own_client_works_as_the_loader(address: str, keys: Keys) -> None:
    """All that ObjectStore does: look, write, read, list, delete."""
    access_key, secret_key = keys["loader"]
    store = ObjectStore(
        S3Settings(
            endpoint=address,
            bucket="market-data",
            region=REGION,
            access_key=access_key,
            secret_key=secret_key,
        )
    )
    store.require_bucket()
    store.put_bytes("iceberg/archive/c.parquet", b"z", content_type="text/plain")
    assert store.get("iceberg/archive/c.parquet").content == b"z"
    assert [entry.key for entry in store.list("raw/")]
    store.delete("iceberg/archive/c.parquet")


def test_what_anchors_may_ask_whether_the_bucket_locks() -> None:
    """By its name at AWS, which the server of these tests does not know."""
    actions = {act for part in policy("audit_anchor")["Statement"] for act in part["Action"]}
    assert actions == {
        "s3:GetBucketObjectLockConfiguration",
        "s3:PutObject",
        "s3:PutObjectRetention",
    }


@pytest.mark.parametrize("role", ["loader", "reader", "audit_anchor"])
def test_a_policy_names_every_action_and_bucket(role: str) -> None:
    """No wildcard among actions, nothing denied by hand, and only the placeholders."""
    given = json.loads((POLICIES / f"{role}.json").read_text())
    assert given["Version"] == "2012-10-17"
    for statement in given["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in statement["Action"])
        for resource in statement["Resource"]:
            bucket = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
            assert bucket in BUCKETS
