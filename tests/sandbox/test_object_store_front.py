"""The front before the S3 server: transparent until a fault is set."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.requests import Request

from marketdata.recovery import errors
from resources.storage.object_store import ObjectStore, S3Settings
from sandbox.simulators import serving
from sandbox.simulators.object_store_front import (
    DISK_FULL,
    INTERNAL_ERROR,
    SLOW_DOWN,
    ObjectStoreFront,
    S3Fault,
    Trouble,
)
from tests.fixtures.world import BucketSettings

CONTENT = bytes(range(256)) * 40
KEY = "raw/fmp/ab/a key with = and ü.json.gz"


@pytest.fixture
def front(bucket: BucketSettings) -> ObjectStoreFront:
    """A front before the test's S3 server."""
    return ObjectStoreFront(bucket.endpoint, seed=1)


@pytest.fixture
def store(bucket: BucketSettings, front: ObjectStoreFront) -> Iterator[ObjectStore]:
    """The bucket, seen through the front."""
    direct = S3Settings(
        endpoint=bucket.endpoint,
        bucket=bucket.bucket,
        region=bucket.region,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
    )
    with serving.serve(front) as origin:
        yield ObjectStore(replace(direct, endpoint=origin))


def _put(store: ObjectStore, key: str = KEY) -> None:
    store.put_bytes(key, CONTENT, content_type="application/gzip")


def test_objects_pass_through_unchanged(store: ObjectStore) -> None:
    """Put, head, get, list and delete, with signatures that the server accepts."""
    _put(store)
    assert store.get(KEY).content == CONTENT
    assert store.stat(KEY).bytes == len(CONTENT)
    assert [entry.key for entry in store.list("raw/")] == [KEY]
    store.delete(KEY)
    assert not store.exists(KEY)


@pytest.mark.parametrize("trouble", [INTERNAL_ERROR, SLOW_DOWN, DISK_FULL])
def test_a_server_in_trouble_refuses_after_all_attempts(
    store: ObjectStore, front: ObjectStoreFront, trouble: Trouble
) -> None:
    """Nothing is stored, the front counts, and once the trouble is over the same call works."""
    front.fault = S3Fault(troubles=(trouble,), methods=frozenset({"PUT"}))
    with pytest.raises(errors.StorageError):
        _put(store)
    assert not store.exists(KEY)
    assert sum(front.refused.values()) > 0
    front.fault = None
    _put(store)
    assert store.get(KEY).content == CONTENT


def test_a_share_spoils_the_same_requests_of_every_run() -> None:
    """A seed names the refusals; a prefix and methods limit them."""

    def refusals(seed: int) -> list[bool]:
        front = ObjectStoreFront("http://127.0.0.1:9", seed=seed)
        front.fault = S3Fault(troubles=(SLOW_DOWN,), share=0.3, prefix="raw/")
        return [_trouble(front, "PUT", f"/bucket/raw/{n}") is not None for n in range(200)]

    assert refusals(1) == refusals(1)
    assert refusals(1) != refusals(2)
    assert 35 < sum(refusals(1)) < 85


def test_other_keys_and_methods_pass() -> None:
    """Other requests are left alone."""
    front = ObjectStoreFront("http://127.0.0.1:9", seed=1)
    front.fault = S3Fault(troubles=(SLOW_DOWN,), methods=frozenset({"PUT"}), prefix="raw/")
    assert _trouble(front, "PUT", "/bucket/raw/x") == SLOW_DOWN
    assert _trouble(front, "GET", "/bucket/raw/x") is None
    assert _trouble(front, "PUT", "/bucket/warehouse/x") is None


def _trouble(front: ObjectStoreFront, method: str, path: str) -> Trouble | None:
    """Return what is drawn for a request; answering those that pass would need a server."""
    request = Request({"type": "http", "method": method, "path": path, "headers": [],
                       "query_string": b"", "server": ("x", 80), "scheme": "http"})  # fmt: skip
    return front._trouble(request)  # pyright: ignore[reportPrivateUsage]
