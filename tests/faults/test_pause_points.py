"""A worker is held at a pause point, and single requests are corrupted, on a real S3 server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psycopg
import pytest

from faults.pause_points import Corruption, PausePoint, WatchedFront, held
from machine.processes import wait_until
from marketdata.recovery import errors
from resources.storage.object_store import ObjectStore, S3Settings
from sandbox.simulators import serving
from tests.fixtures.world import BucketSettings

KEY = "iceberg/a.parquet"
CONTENT = b"0123456789" * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronted:
    """A bucket, behind a front and without it."""

    front: WatchedFront
    through: ObjectStore
    behind: ObjectStore

    def put(self) -> None:
        """Store an object through the front."""
        self.through.put_bytes(KEY, CONTENT, content_type="application/octet-stream")


@pytest.fixture
def fronted(bucket: BucketSettings) -> Iterator[Fronted]:
    """A front in a thread before the tests' S3 server."""

    def store(endpoint: str) -> ObjectStore:
        return ObjectStore(
            S3Settings(
                endpoint=endpoint,
                bucket=bucket.bucket,
                region=bucket.region,
                access_key=bucket.access_key,
                secret_key=bucket.secret_key,
            )
        )

    behind = store(bucket.endpoint)
    front = WatchedFront(bucket.endpoint, seed=1, store=behind)
    with serving.serve(front) as origin:
        yield Fronted(front=front, through=store(origin), behind=behind)


@pytest.mark.parametrize("done", [True, False])
def test_a_request_is_held_before_or_after_it_is_done(fronted: Fronted, *, done: bool) -> None:
    """And goes on when it is released; the next one is not held."""
    point = PausePoint(name="x", request=r"^PUT \S+\.parquet", done=done)
    with ThreadPoolExecutor(1) as pool:
        with held(fronted.front, "", point) as hold:
            put = pool.submit(fronted.put)
            assert wait_until(hold.is_reached, within_s=20)
            assert not put.done()
            assert fronted.behind.exists(KEY) == done
        put.result(20)
    fronted.put()
    assert fronted.behind.get(KEY).content == CONTENT


def test_other_requests_are_not_held(fronted: Fronted) -> None:
    """Neither another method nor another key."""
    for request in (r"^GET \S+\.parquet", r"^PUT \S+\.avro"):
        with held(fronted.front, "", PausePoint(name="x", request=request)) as hold:
            fronted.put()
            assert not hold.is_reached()


def test_what_a_killed_worker_asked_for_is_not_done(fronted: Fronted) -> None:
    """Its request was still on its way."""
    point = PausePoint(name="x", request=r"^PUT \S+\.parquet")
    url = f"{fronted.through.settings.endpoint}/{fronted.through.settings.bucket}/{KEY}"
    with ThreadPoolExecutor(1) as pool:
        with held(fronted.front, "", point) as hold:
            put = pool.submit(httpx.put, url, content=CONTENT, trust_env=False)
            assert wait_until(hold.is_reached, within_s=20)
            hold.abandoned = True
        assert put.result(20).status_code == 503
    assert not fronted.behind.exists(KEY)


def test_half_of_an_object_is_kept_behind_a_right_answer(fronted: Fronted) -> None:
    """The client cannot know before it reads it back."""
    fronted.front.corrupt(Corruption.HALF_KEPT, r"^PUT \S+\.parquet", 1)
    fronted.put()
    assert fronted.behind.get(KEY).content == CONTENT[: len(CONTENT) // 2]
    fronted.put()
    assert fronted.behind.get(KEY).content == CONTENT


def test_half_of_an_answer_arrives(fronted: Fronted) -> None:
    """With the length of the whole, so readers see that it is cut."""
    fronted.put()
    fronted.front.corrupt(Corruption.HALF_ANSWER, r"^GET \S+\.parquet", 1)
    with pytest.raises(errors.StorageUnavailableError):
        fronted.through.get(KEY)
    assert fronted.through.get(KEY).content == CONTENT


def test_what_was_done_is_answered_with_500_and_tried_again(fronted: Fronted) -> None:
    """As often as it was asked for."""
    fronted.front.corrupt(Corruption.DONE_BUT_500, r"^PUT \S+\.parquet", 2)
    fronted.put()
    assert fronted.front.corrupted == 2
    assert fronted.behind.get(KEY).content == CONTENT


def test_who_writes_a_table_is_held_and_who_reads_it_is_not(
    fronted: Fronted, database_url: str
) -> None:
    """And a server that is restarted takes the hold with it."""
    with psycopg.connect(database_url, autocommit=True) as own:
        own.execute("create table coverage (days integer)")
        written = threading.Thread(
            target=own.execute, args=("insert into coverage values (1)",), daemon=True
        )
        with held(fronted.front, database_url, PausePoint(name="x", table="coverage")) as hold:
            with psycopg.connect(database_url) as reader:
                assert reader.execute("select count(*) from coverage").fetchone() == (0,)
            assert not hold.is_reached()
            written.start()
            assert wait_until(hold.is_reached, within_s=20)
            _end_others(database_url, own.info.backend_pid)
        written.join(20)
        assert own.execute("select count(*) from coverage").fetchone() == (1,)


def _end_others(database_url: str, kept: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid not in (%s, pg_backend_pid())
                and usename = current_user and backend_type = 'client backend'
            """,
            [kept],
        )
