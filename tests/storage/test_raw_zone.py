"""The raw zone on a real S3 server, and on one that is out of order."""

import gzip
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.recovery import errors
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.raw_zone import RawZone

pytestmark = pytest.mark.servers

OPERATION = "historical-price-eod/full symbol=AAPL from=2016-01-04 to=2026-11-20"
BODY = b'[{"symbol": "AAPL", "date": "2026-11-20", "close": 1.5}]'
Answering = Callable[[BaseHTTPRequestHandler], None]


def _keep(zone: RawZone, body: bytes = BODY, media_type: str = "application/json") -> str:
    return zone.keep("fmp", OPERATION, body, sha256(body).hexdigest(), media_type)


@pytest.fixture
def zone(object_store: ObjectStore) -> RawZone:
    """A raw zone in a fresh bucket."""
    return RawZone(object_store)


def test_an_answer_is_named_for_its_content_and_packed_alike_each_time(
    zone: RawZone, object_store: ObjectStore
) -> None:
    """One object, whatever the clock says; what is in it is plain gzip."""
    digest = sha256(BODY).hexdigest()

    first = _keep(zone)
    packed = object_store.get(first).content
    second = _keep(zone)

    assert first == second == f"raw/fmp/{digest[:2]}/{digest}.json.gz"
    assert [stored.key for stored in object_store.list("raw/")] == [first]
    assert object_store.get(first).content == packed
    assert gzip.decompress(packed) == BODY


@pytest.mark.parametrize(
    ("media_type", "ending"),
    [
        ("application/json", ".json.gz"),
        ("Application/JSON; charset=utf-8", ".json.gz"),
        ("text/csv", ".csv.gz"),
        ("text/html", ".bin.gz"),
        ("", ".bin.gz"),
        ("tëxt/\nodd", ".bin.gz"),
    ],
)
def test_the_name_ends_as_the_provider_called_the_answer(
    zone: RawZone, media_type: str, ending: str
) -> None:
    """Other content is kept too, without such an ending."""
    key = _keep(zone, media_type=media_type)

    assert key.endswith(ending)
    assert zone.get(key) == BODY


def test_what_was_asked_and_when_comes_back_with_the_answer(zone: RawZone) -> None:
    """A symbol may hold any character; the time is that of the last time it came."""
    began = datetime.now(UTC)
    odd = "historical-price-eod/full symbol=Ü=%41\nX" + "y" * 5000
    key = zone.keep("fmp", odd, BODY, sha256(BODY).hexdigest(), "application/json;v=1")

    kept = zone.read(key)

    assert kept.body == BODY
    assert kept.operation == odd[:150]
    assert kept.media_type == "application/json"
    assert began <= kept.fetched_at <= datetime.now(UTC)
    assert kept.fetched_at.tzinfo is UTC
    _keep(zone)
    assert zone.read(key).fetched_at > kept.fetched_at
    assert zone.read(key).operation == OPERATION


def test_a_server_that_forgot_the_metadata_still_tells_when(
    zone: RawZone, object_store: ObjectStore
) -> None:
    """`rclone serve s3` loses it at a restart: the time of the put remains."""
    key = _keep(zone)
    object_store.put_bytes(key, object_store.get(key).content, content_type="application/gzip")

    kept = zone.read(key)

    assert (kept.operation, kept.media_type) == ("", "")
    assert abs(datetime.now(UTC) - kept.fetched_at) < timedelta(minutes=1)
    assert kept.fetched_at.tzinfo is UTC


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=5000))
def test_any_bytes_come_back_as_they_were(zone: RawZone, body: bytes) -> None:
    """An empty answer as well."""
    assert zone.get(_keep(zone, body)) == body


def test_an_object_that_is_gone_is_named_with_the_cure(
    zone: RawZone, object_store: ObjectStore
) -> None:
    """Trying again does not help."""
    key = _keep(zone)
    object_store.delete(key)

    with pytest.raises(errors.StorageConflictError, match=f"raw zone.*has no object {key}"):
        zone.get(key)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"something else"), "instead of its name"),
        (gzip.compress(BODY)[:-4], "cannot be unpacked"),
        (gzip.compress(BODY)[:20] + b"\0\0\0" + gzip.compress(BODY)[23:], "cannot be unpacked"),
        (BODY, "cannot be unpacked"),
        (b"", "instead of its name"),
    ],
    ids=["another body", "cut off", "damaged", "not packed", "empty"],
)
def test_an_object_that_is_not_what_its_name_says_is_refused(
    zone: RawZone, object_store: ObjectStore, content: bytes, said: str
) -> None:
    """Damaged, cut or exchanged: it is never given back."""
    key = _keep(zone)
    object_store.put_bytes(key, content, content_type="application/gzip")

    with pytest.raises(errors.StorageConflictError, match=said) as caught:
        zone.get(key)
    assert key in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "daily_bars/data/x.parquet",
        "raw/fmp/ab/" + "0" * 64 + ".json.gz",
        "raw/../../00/" + "0" * 64 + ".json.gz",
        "raw/fmp/00/" + "0" * 64 + ".json.gz\n",
    ],
)
def test_a_text_that_is_no_pointer_asks_for_nothing(key: str) -> None:
    """Pointers come from the database and from users."""
    nowhere = S3Settings(bucket="b", access_key="a", secret_key="s", endpoint="http://127.0.0.1:1")

    with pytest.raises(errors.StorageConflictError, match="is no answer of the raw zone"):
        RawZone(ObjectStore(nowhere)).get(key)


def test_a_missing_bucket_is_named_with_the_setting(object_store: ObjectStore) -> None:
    """The same words as the archive's, and that nothing was loaded."""
    wrong = ObjectStore(replace(object_store.settings, bucket="no-such-bucket"))

    with pytest.raises(
        errors.StorageConflictError,
        match=r"raw zone of fmp cannot be written.*WRDATA_ARCHIVE_BUCKET; nothing.*was loaded",
    ):
        _keep(RawZone(wrong))


def test_threads_may_keep_at_once(zone: RawZone, object_store: ObjectStore) -> None:
    """Eight requests are under way in a run, some with the same answer."""
    bodies = [b"%d" % (number % 10) for number in range(40)]
    keys: list[str] = []
    threads = [
        threading.Thread(target=lambda body=body: keys.append(_keep(zone, body))) for body in bodies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 40
    assert {stored.key for stored in object_store.list("raw/")} == set(keys)
    assert {zone.get(key) for key in keys} == set(bodies)


@contextmanager
def _server(*answers: int) -> Generator[tuple[RawZone, list[str]]]:
    """Serve ``answers`` one by one, the last for ever, as a server that speaks S3 would."""
    arrived: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status = answers[min(len(arrived), len(answers) - 1)]
            arrived.append(self.path)
            code = {503: "SlowDown", 507: "XMinioStorageFull"}.get(status, "InternalError")
            body = b"" if status == 200 else f"<Error><Code>{code}</Code></Error>".encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    where = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield (
            RawZone(
                ObjectStore(
                    S3Settings(bucket="b", access_key="AKIASESAME", secret_key="s", endpoint=where)
                )
            ),
            arrived,
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_short_outage_of_the_bucket_is_bridged() -> None:
    """500 and 503 three times, then success: the client's own retries suffice."""
    with _server(500, 503, 500, 200) as (zone, arrived):
        key = _keep(zone)

    assert arrived == [f"/b/{key}"] * 4


@pytest.mark.parametrize("status", [500, 503])
def test_an_outage_that_lasts_is_told_after_four_attempts(status: int) -> None:
    """Bounded in number and time; the text says that nothing was loaded, and no key."""
    began = time.monotonic()
    with (
        _server(status) as (zone, arrived),
        pytest.raises(
            errors.StorageUnavailableError,
            match=r"raw zone of fmp cannot be written.*is busy.*nothing of this answer was loaded",
        ) as caught,
    ):
        _keep(zone)

    assert len(arrived) == 4
    assert time.monotonic() - began < 15
    assert "SESAME" not in str(caught.value)


def test_a_full_disk_may_have_room_later() -> None:
    """A server that answers 507 is not asked again at once."""
    with (
        _server(507) as (zone, arrived),
        pytest.raises(errors.StorageUnavailableError, match="no space left"),
    ):
        _keep(zone)

    assert len(arrived) == 1


def test_a_bucket_nobody_answers_for_may_come_back() -> None:
    """No server listens at the endpoint."""
    gone = S3Settings(bucket="b", access_key="a", secret_key="s", endpoint="http://127.0.0.1:1")

    with pytest.raises(errors.StorageUnavailableError, match=r"written: bucket b.*endpoint"):
        _keep(RawZone(ObjectStore(gone)))
