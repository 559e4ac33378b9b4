"""What a deployment needs of each platform: items, and how much of each in a month.

Here: the machines, disks, buckets and networks of the four ways to run it. Not here: prices
(prices.py), or bytes and requests (workload.py).

The shape is the same everywhere: one database server of 4 processors and 16 GB, one machine for
Dagster and its runs, one bucket. A read replica, a load balancer, watching, support and the data
providers' own plans are not counted.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from usecases.costs.workload import MONTHS, Workload

HOURS_A_MONTH = Decimal(730)
GB, GIB, TB = Decimal(10**9), Decimal(2**30), Decimal(10**12)
FREE_SPACE = Decimal("0.25")
"""Disk beyond what is used: the alert of a full disk fires at 20 % free."""
WAL_KEPT = Decimal(8) * GB
"""Room for WAL that waits for a bucket which is away, assumed."""
SMALLEST_DISK = Decimal(10)
"""GB or GiB of the smallest volume."""
DAGSTER_PROCESSORS, DAGSTER_GB = Decimal(1), Decimal(4)
"""The web server, the daemon and the code server, all month, assumed."""
RUN_PROCESSORS, RUN_GB = Decimal(1), Decimal(2)
"""A worker of a run while it lasts, assumed."""
WARM_DAYS = Decimal(90)
"""After which AWS moves files of bars to a colder class (deploy/object_storage/aws.json)."""
FREE_OUT_GB, FREE_OUT_GIB = Decimal(100), Decimal(1024)
SPACES_STORAGE_GIB, MANAGED_STORAGE_GIB = Decimal(250), Decimal(270)
OBJECT_STORAGE_TB = Decimal(1)
DRILLS_A_MONTH = Decimal(52) / MONTHS


class Platform(StrEnum):
    """Where it runs."""

    AWS = "aws"
    """EC2 with the Community edition, Fargate, S3."""
    DIGITALOCEAN = "digitalocean"
    """Managed PostgreSQL, which has the Apache edition; a Droplet; Spaces."""
    HETZNER = "hetzner"
    """Two servers with the Community edition, a volume, object storage."""
    HYBRID = "hybrid"
    """Servers at Hetzner, the bucket with archive and backups at DigitalOcean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """So much of an item in a month.

    Attributes:
        platform: Whose item it is.
        item: As it is called in the table of prices.
        quantity: In the price's unit, after what is free.
        why: What it is for.
    """

    platform: str
    item: str
    quantity: Decimal
    why: str


def needs(platform: Platform, work: Workload) -> list[Need]:
    """Return what a deployment needs in a month, without items of which it needs nothing."""
    return [need for need in _NEEDS[platform](work) if need.quantity > 0]


def compresses(platform: Platform) -> bool:
    """Return whether the platform's database may be TimescaleDB's Community edition."""
    return platform is not Platform.DIGITALOCEAN


def backs_up(platform: Platform) -> bool:
    """Return whether backups are ours to keep; a managed database has its own."""
    return platform is not Platform.DIGITALOCEAN


def disk_bytes(work: Workload, *, compressed: bool) -> Decimal:
    """Return the size of the database's disk: its rows, WAL, and what stays free."""
    used = work.database_bytes(compresses=compressed) + WAL_KEPT
    return used * (1 + FREE_SPACE)


def bucket_bytes(work: Workload, *, compressed: bool, backups: bool = True) -> Decimal:
    """Return the bytes of archive and raw zone, and of backups where they are ours."""
    kept = work.backup_bytes(compresses=compressed) if backups else Decimal()
    return work.parquet_bytes + work.raw_bytes + kept


def bytes_read(work: Workload) -> Decimal:
    """Return what a month reads back: the archive's verification, and each week's drill."""
    return work.parquet_bytes + work.full_backup_bytes(compresses=True) * DRILLS_A_MONTH


def _aws(work: Workload) -> Iterator[Need]:
    runs = work.run_minutes / 60
    warm = min(Decimal(1), WARM_DAYS / (365 * work.wish.years))
    cold = work.parquet_bytes * (1 - warm)
    standard = bucket_bytes(work, compressed=True) - cold
    inward = work.raw_bytes / (MONTHS * work.wish.years)
    yield _of_aws("EC2 m7g.xlarge", HOURS_A_MONTH, "database server")
    yield _of_aws("gp3 volume", _disk(work, GB, compressed=True), "its disk")
    processor = HOURS_A_MONTH * DAGSTER_PROCESSORS + runs * RUN_PROCESSORS
    yield _of_aws("Fargate processor", processor, "Dagster all month, and its runs")
    memory = HOURS_A_MONTH * DAGSTER_GB + runs * RUN_GB
    yield _of_aws("Fargate memory", memory, "Dagster all month, and its runs")
    yield _of_aws("S3 Standard", standard / GB, "raw zone, backups, 90 days of archive")
    yield _of_aws("S3 Glacier Instant Retrieval", cold / GB, "older archive")
    yield _of_aws("S3 writes", work.objects_written() / 1000, "answers and WAL files")
    yield _of_aws("S3 reads", work.requests / 1000, "verifications, as many as answers, assumed")
    yield _of_aws("NAT gateway", HOURS_A_MONTH, "the way of a private network to providers")
    yield _of_aws("NAT gateway traffic", inward / GB, "answers, as they are packed")
    yield _of_aws("public IPv4", HOURS_A_MONTH, "the gateway's address")
    out = max(Decimal(), work.requests / 10**6 - FREE_OUT_GB)
    yield _of_aws("transfer out", out, "requests of 1 kB, beyond 100 GB that are free")


def _digitalocean(work: Workload) -> Iterator[Need]:
    more = _disk(work, GIB, compressed=False) - MANAGED_STORAGE_GIB
    yield _of_digitalocean("managed PostgreSQL 16 GB", Decimal(1), "database, its backups included")
    yield _of_digitalocean("managed PostgreSQL storage", more, "disk beyond the plan's 270 GiB")
    yield _of_digitalocean("Droplet 4 GB", Decimal(1), "Dagster and its runs")
    yield from _spaces(bucket_bytes(work, compressed=False, backups=False), Decimal())


def _hetzner(work: Workload) -> Iterator[Need]:
    yield from _servers(work)
    more = bucket_bytes(work, compressed=True) / TB - OBJECT_STORAGE_TB
    yield _of_hetzner("object storage", Decimal(1), "1 TB of archive, raw zone, backups")
    yield _of_hetzner("object storage beyond", more, "what is more than 1 TB")


def _hybrid(work: Workload) -> Iterator[Need]:
    yield from _servers(work)
    yield from _spaces(bucket_bytes(work, compressed=True), bytes_read(work))


def _servers(work: Workload) -> Iterator[Need]:
    yield _of_hetzner("CCX23", Decimal(1), "database server")
    yield _of_hetzner("volume", _disk(work, GB, compressed=True), "its disk")
    yield _of_hetzner("CPX22", Decimal(1), "Dagster and its runs")
    yield _of_hetzner("public IPv4", Decimal(2), "an address for each server")


def _spaces(stored: Decimal, read: Decimal) -> Iterator[Need]:
    yield _of_digitalocean("Spaces", Decimal(1), "250 GiB stored, 1 TiB out")
    more = stored / GIB - SPACES_STORAGE_GIB
    yield _of_digitalocean("Spaces storage", more, "archive, raw zone, backups beyond 250 GiB")
    out = read / GIB - FREE_OUT_GIB
    yield _of_digitalocean("Spaces transfer out", out, "verifications and drills beyond 1 TiB")


def _disk(work: Workload, unit: Decimal, *, compressed: bool) -> Decimal:
    whole = (disk_bytes(work, compressed=compressed) / unit).to_integral_value("ROUND_CEILING")
    return max(SMALLEST_DISK, whole)


def _of_aws(item: str, quantity: Decimal, why: str) -> Need:
    return Need(platform="aws", item=item, quantity=quantity, why=why)


def _of_digitalocean(item: str, quantity: Decimal, why: str) -> Need:
    return Need(platform="digitalocean", item=item, quantity=quantity, why=why)


def _of_hetzner(item: str, quantity: Decimal, why: str) -> Need:
    return Need(platform="hetzner", item=item, quantity=quantity, why=why)


_NEEDS: Mapping[Platform, Callable[[Workload], Iterator[Need]]] = {
    Platform.AWS: _aws,
    Platform.DIGITALOCEAN: _digitalocean,
    Platform.HETZNER: _hetzner,
    Platform.HYBRID: _hybrid,
}
