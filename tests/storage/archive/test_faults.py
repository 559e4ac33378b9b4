"""Faults of the bucket, over real HTTP: one clear line each, and no false commit.

After each fault every file that any snapshot names is read back and compared with its proof:
nothing is ever committed that was not read back.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response

from marketdata.recovery import errors
from resources.storage.archive import Archive, ArchiveStatus
from resources.storage.archive.iceberg.referenced_files import data_files
from resources.storage.archive.maintain.rebuild import ArchiveRebuild
from resources.storage.archive.write.files import read_back
from resources.storage.object_store import ObjectStore
from resources.storage.timescale import Timescale
from sandbox.simulators import serving
from sandbox.simulators.object_store_front import (
    DISK_FULL,
    INTERNAL_ERROR,
    SLOW_DOWN,
    ObjectStoreFront,
    S3Fault,
    Trouble,
)
from tests.storage.archive.archived_years import BARS, FOLDER, YEARS, store_bars

EXPIRED = Trouble(status=400, code="ExpiredToken")
WRONG_CLOCK = Trouble(status=403, code="RequestTimeTooSkewed")
DENIED = Trouble(status=403, code="AccessDenied")
DATA = f"{FOLDER}data/"


class Front(ObjectStoreFront):
    """A front that also changes what passes.

    Attributes:
        after: Called with method and key once a request was served.
        cut: GETs of keys with this prefix lose the second half of their answer, not its length.
    """

    def __init__(self, origin: str) -> None:
        super().__init__(origin, seed=1)
        self.after: Callable[[str, str], None] = lambda _method, _key: None
        self.cut = ""

    def _passed_on(self, request: Request, body: bytes) -> Response:
        answer = super()._passed_on(request, body)
        _, _, key = request.url.path.lstrip("/").partition("/")
        self.after(request.method, key)
        if self.cut and request.method == "GET" and key.startswith(self.cut):
            answer.body = answer.body[: len(answer.body) // 2]
        return answer


@pytest.fixture
def front(object_store: ObjectStore) -> Front:
    """The front before the test's bucket."""
    return Front(object_store.settings.endpoint)


@pytest.fixture
def archive(
    front: Front, object_store: ObjectStore, timescale: Timescale, instrument_ids: list[int]
) -> Iterator[Archive]:
    """An archive behind the front; two years wait to be archived."""
    store_bars(timescale, instrument_ids)
    with serving.serve(front) as origin:
        yield Archive(timescale, ObjectStore(replace(object_store.settings, endpoint=origin)))


@pytest.fixture
def direct(timescale: Timescale, object_store: ObjectStore) -> Archive:
    """The same archive without the front."""
    return Archive(timescale, object_store)


def require_proven(direct: Archive, store: ObjectStore) -> int:
    """Read every file that any snapshot names; return how many there are.

    Each equals its proof, byte for byte.
    """
    archive_table = direct.table(BARS)
    state = archive_table.state()
    if state.table is None:
        return 0
    proven = {
        file.object_key: file.file_sha256
        for committed in archive_table.carried_proofs(state).values()
        for file in committed.proof.files
    }
    named = {
        place.split("/", 3)[3]: file.file_size_in_bytes
        for place, file in data_files(state.table).items()
    }
    assert set(named) == set(proven)
    for key, size in named.items():
        content = store.get(key).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, proven[key])
    return len(named)


REFUSALS = [
    (EXPIRED, errors.StorageConflictError, "expired: set new AWS_ACCESS_KEY_ID"),
    (WRONG_CLOCK, errors.StorageConflictError, r"clock is wrong: set it \(NTP\)"),
    (DENIED, errors.StorageConflictError, "check AWS_ACCESS_KEY_ID"),
    (SLOW_DOWN, errors.StorageUnavailableError, "busy"),
    (INTERNAL_ERROR, errors.StorageUnavailableError, "busy"),
    (DISK_FULL, errors.StorageUnavailableError, "no space left"),
]


@pytest.mark.parametrize(("trouble", "error", "words"), REFUSALS)
def test_a_server_that_refuses_is_told_in_one_line(
    archive: Archive,
    front: Front,
    direct: Archive,
    object_store: ObjectStore,
    trouble: Trouble,
    error: type[errors.StorageError],
    words: str,
) -> None:
    """At the first request, before a row is read: what, where, and the cure."""
    front.fault = S3Fault(troubles=(trouble,))

    with pytest.raises(error, match=words) as caught:
        archive.archive(BARS, YEARS)

    assert "\n" not in str(caught.value)
    assert object_store.settings.bucket in str(caught.value)
    assert direct.proofs(BARS) == {}


@pytest.mark.parametrize(
    ("prefix", "trouble", "error"),
    [
        (DATA, EXPIRED, errors.StorageConflictError),
        (DATA, DISK_FULL, errors.StorageUnavailableError),
        (f"{FOLDER}metadata/", EXPIRED, errors.StorageConflictError),
        (f"{FOLDER}metadata/", WRONG_CLOCK, errors.StorageConflictError),
        (f"{FOLDER}metadata/", SLOW_DOWN, errors.StorageUnavailableError),
    ],
)
def test_an_upload_or_a_commit_that_fails_leaves_nothing_archived(
    archive: Archive,
    front: Front,
    direct: Archive,
    object_store: ObjectStore,
    prefix: str,
    trouble: Trouble,
    error: type[errors.StorageError],
) -> None:
    """Keys expire halfway, disk full, server busy; afterwards the same call works."""
    front.fault = S3Fault(troubles=(trouble,), methods=frozenset({"PUT", "POST"}), prefix=prefix)

    with pytest.raises(error) as caught:
        archive.archive(BARS, YEARS)

    assert "\n" not in str(caught.value)
    assert direct.proofs(BARS) == {}
    assert require_proven(direct, object_store) == 0
    front.fault = None
    assert {outcome.status for outcome in archive.archive(BARS, YEARS)} == {ArchiveStatus.COMMITTED}
    assert require_proven(direct, object_store) == 2


def test_a_partial_upload_is_refused(
    archive: Archive, front: Front, direct: Archive, object_store: ObjectStore
) -> None:
    """Reading back detects a server that keeps half of an object."""

    def half(method: str, key: str) -> None:
        if method == "PUT" and key.startswith(f"{DATA}2022/"):
            content = object_store.get(key).content
            object_store.put_bytes(key, content[: len(content) // 2], content_type="x")

    front.after = half

    refused, other = archive.archive(BARS, YEARS)

    assert (refused.status, other.status) == (ArchiveStatus.REFUSED, ArchiveStatus.COMMITTED)
    assert "not the file that was sent" in refused.reason
    assert list(direct.proofs(BARS)) == ["2023"]
    assert require_proven(direct, object_store) == 1


def test_a_cut_answer_is_not_taken_for_the_file(
    archive: Archive, front: Front, direct: Archive, object_store: ObjectStore
) -> None:
    """The connection breaks while the file is read back."""
    front.cut = DATA

    with pytest.raises(errors.StorageUnavailableError, match="cannot be reached for iceberg/"):
        archive.archive(BARS, YEARS)

    assert direct.proofs(BARS) == {}
    assert require_proven(direct, object_store) == 0


def test_an_object_that_goes_before_it_is_read_back_is_not_committed(
    archive: Archive, front: Front, direct: Archive, object_store: ObjectStore
) -> None:
    """A person or a lifecycle rule removed it between upload and reading."""

    def gone(method: str, key: str) -> None:
        if method == "PUT" and key.startswith(DATA):
            object_store.delete(key)

    front.after = gone

    with pytest.raises(errors.StorageConflictError, match="has no object iceberg/archive"):
        archive.archive(BARS, YEARS)
    assert direct.proofs(BARS) == {}
    assert require_proven(direct, object_store) == 0


@pytest.mark.parametrize("how", ["changed", "swapped", "gone"])
def test_what_changes_after_the_commit_is_found_by_reading(
    archive: Archive, direct: Archive, object_store: ObjectStore, how: str
) -> None:
    """Verification names the file, another year's valid one too; once it is gone a run mends it."""
    archive.archive(BARS, YEARS)
    proofs = archive.proofs(BARS)
    (key,) = proofs["2022"].proof.object_keys
    (other,) = proofs["2023"].proof.object_keys
    if how == "gone":
        object_store.delete(key)
    else:
        source = object_store.get(key if how == "changed" else other).content
        content = source[:-9] + b"x" + source[-8:] if how == "changed" else source
        object_store.put_bytes(key, content, content_type="x")

    damaged, whole = archive.verify(BARS, ["2022", "2023"])

    assert (damaged.equal, whole.equal) == (False, True)
    assert key in damaged.reason
    assert "\n" not in damaged.reason
    with pytest.raises(errors.ArchiveMismatchError, match=key):
        list(read_back(object_store, BARS, proofs["2022"].proof))

    if how != "gone":
        object_store.delete(key)
    first, second = direct.archive(BARS, YEARS)
    assert (first.status, second.status) == (ArchiveStatus.REPAIRED, ArchiveStatus.UNCHANGED)
    assert all(verdict.equal for verdict in direct.verify(BARS, ["2022", "2023"]))


@pytest.mark.usefixtures("archive")
def test_a_wrong_bucket_is_named(timescale: Timescale, object_store: ObjectStore) -> None:
    """Before the first request for a file."""
    settings = replace(object_store.settings, bucket="no-such-bucket")

    with pytest.raises(
        errors.StorageConflictError, match=r"no-such-bucket.*does not exist.*WRDATA_ARCHIVE_BUCKET"
    ):
        Archive(timescale, ObjectStore(settings)).archive(BARS, YEARS)


def test_a_catalogue_without_its_metadata_is_told(
    archive: Archive, direct: Archive, object_store: ObjectStore
) -> None:
    """Catalogue and bucket disagree: the catalogue names a missing file."""
    archive.archive(BARS, YEARS)
    table = direct.table(BARS).load()
    assert table
    object_store.delete(table.metadata_location.split("/", 3)[3])

    for attempt in (archive.proofs, lambda dataset: archive.archive(dataset, YEARS)):
        with pytest.raises(errors.ArchiveMismatchError, match="lacks a file that it refers to"):
            attempt(BARS)


def test_a_bucket_without_its_catalogue_is_told(
    archive: Archive, timescale: Timescale, object_store: ObjectStore, direct: Archive
) -> None:
    """The other way round: the message names the command that mends it, and it does."""
    archive.archive(BARS, YEARS)
    with timescale.connection() as connection:
        connection.execute("delete from iceberg_catalog.iceberg_tables")

    with pytest.raises(errors.ArchiveMismatchError, match="wrdata archive rebuild"):
        archive.archive(BARS, YEARS)

    ArchiveRebuild(timescale, object_store, by="a test").rebuild(BARS)
    assert {outcome.status for outcome in archive.archive(BARS, YEARS)} == {ArchiveStatus.UNCHANGED}
    assert require_proven(direct, object_store) == 2
