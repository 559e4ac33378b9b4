"""What common tables of costs get wrong, and what is so.

Here: a line for each wrong figure. Not here: the prices in use (prices.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from usecases.costs.platforms import Platform

_AWS, _OCEAN = Platform.AWS, Platform.DIGITALOCEAN
_HETZNER, _HYBRID = Platform.HETZNER, Platform.HYBRID


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A wrong figure, the right one, and where that is from."""

    platforms: Sequence[Platform]
    wrong: str
    right: str
    source: str


CORRECTIONS = (
    Correction(
        platforms=(_AWS,),
        wrong="500 GB out of S3 cost $45",
        right="the first 100 GB a month are free, so they cost $36; in the region all is free",
        source="aws.amazon.com/s3/pricing, 2026-09-20",
    ),
    Correction(
        platforms=(_AWS,),
        wrong="TimescaleDB runs on RDS (r6g.xlarge, $280)",
        right="RDS has no TimescaleDB: a server on EC2, or another company's cloud",
        source="general knowledge; RDS's list of extensions could not be read here",
    ),
    Correction(
        platforms=(_AWS,),
        wrong="no line for addresses",
        right="each public IPv4 address costs $3.65 a month",
        source="cloudburn.io, 2026-02-24",
    ),
    Correction(
        platforms=(_AWS,),
        wrong="no line for the way out of a private network",
        right="a NAT gateway costs $32.85 a month and $0.045 a GB; S3 is reached without it by a "
        "gateway endpoint, which is free",
        source="cloudburn.io, 2026-02-24",
    ),
    Correction(
        platforms=(_OCEAN, _HYBRID),
        wrong="500 GB in Spaces cost $5, 5 TB cost $105",
        right="$5 hold 250 GiB, each further GiB is $0.02: 500 GiB are $10, 5 TiB are $102.40; the "
        "first 1 TiB out is free",
        source="digitalocean.com/community, 2018-11-27",
    ),
    Correction(
        platforms=(_OCEAN,),
        wrong="managed PostgreSQL compresses minutes to a tenth",
        right="it has TimescaleDB's Apache edition, which compresses nothing; its backups reach 7 "
        "days back, and its nodes only grow",
        source="docs.digitalocean.com/products/databases/postgresql/details/limits",
    ),
    Correction(
        platforms=(_AWS, _HETZNER, _HYBRID),
        wrong="compression makes rows ten times smaller",
        right="here four times: 70 MB of minutes take 18, 276 MB of daily bars take 66",
        source="docs/decisions/0036-old-chunks-are-compressed.md",
    ),
    Correction(
        platforms=(_HETZNER, _HYBRID),
        wrong="CCX23 costs 26 euros, CCX33 costs 55",
        right="since 2026-06-15 new orders and rescales cost 85.99 and 138.49; a server that is "
        "built anew is a new order, and one that is switched off is paid for",
        source="docs.hetzner.com price adjustment, 2026-07-04",
    ),
    Correction(
        platforms=(_HETZNER, _HYBRID),
        wrong="CX21 and CX41 for 5 and 15 euros",
        right="both names are gone; CX23 to CX53 follow them and were not to be ordered when they "
        "were looked up",
        source="github.com/robhunter/agentdeals pull request 1286, 2026-09-03",
    ),
    Correction(
        platforms=(_HETZNER,),
        wrong="5 TB of object storage cost 25 euros",
        right="6.49 for the first TB and some 8.74 for each further one: 41.45",
        source="github.com/mixxor/eu-cloud-prices, 2026-02-23, tax taken off",
    ),
    Correction(
        platforms=(_HETZNER, _HYBRID),
        wrong="no line for addresses",
        right="each public IPv4 address costs 0.50 euros a month",
        source="github.com/mixxor/eu-cloud-prices, 2026-02-23",
    ),
)
"""All of them."""


def corrections(platform: Platform) -> list[Correction]:
    """Return those that matter on a platform."""
    return [correction for correction in CORRECTIONS if platform in correction.platforms]
