"""The audit log's day: its chain is verified, then its last row is anchored.

Here: the asset and its check. Not here: how (usecases/auditing.py), or when
(pipelines/schedules.py).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.datasets import OWNERS
from assets.failures import Metadata, as_dagster_failure
from marketdata.calendars import utc_now
from resources.wiring import Database
from usecases.auditing import anchor_log, describe, verify_log

CHAIN_IS_WHOLE = "chain_is_whole"


@dg.asset(
    key=["operations", "audit"],
    group_name="operations",
    owners=OWNERS,
    kinds={"postgres", "s3"},
    check_specs=[
        dg.AssetCheckSpec(
            CHAIN_IS_WHOLE,
            asset=["operations", "audit"],
            description=(
                "No row of the audit log was altered, removed or cut off, and every anchor in the "
                "locked bucket agrees."
            ),
        )
    ],
    metadata={"source": "the audit log", "cadence": "daily", "grain": "run"},
)
def audit(database: Database) -> Iterator[dg.MaterializeResult[Any]]:
    """Verifies the chain of the audit log, and anchors its last row if WRDATA_AUDIT_BUCKET is set.

    Rows that were written past the journal are put into it.

    Source: tables `audit_log` and `audit_head`, and the anchors. Cadence: daily. Destination:
    tables `audit_verification` and `audit_anchor`, and the bucket. A broken chain is not anchored.
    """
    with as_dagster_failure(), database.audit() as (log, anchors):
        verification = verify_log(log, anchors)
        metadata: Metadata = {"rows": verification.rows, "last_row": verification.through_id}
        if verification.valid and anchors is not None:
            anchor = anchor_log(log, anchors, utc_now())
            metadata |= {"anchored_row": anchor.audit_id, "object_key": anchor.object_key}
    yield dg.MaterializeResult(
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name=CHAIN_IS_WHOLE,
                passed=verification.valid,
                severity=dg.AssetCheckSeverity.ERROR,
                description=describe(verification),
                metadata={"findings": dg.MetadataValue.json(list(verification.findings))},
            )
        ],
    )
