"""The lifecycle rules of deploy/object_storage, against boto3's model of S3's own."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from marketdata.archiving import ARCHIVED

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import BucketLifecycleConfigurationTypeDef

RULES = Path(__file__).parents[3] / "deploy" / "object_storage"


def _rules(name: str) -> list[dict[str, Any]]:
    return json.loads((RULES / name).read_text())["Rules"]


@pytest.mark.parametrize("name", ["aws.json", "spaces.json"])
def test_rules_are_what_the_service_takes(name: str) -> None:
    """Every field has S3's name and type, and the client would send it as it stands."""
    client = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="s"
    )
    wanted = cast("BucketLifecycleConfigurationTypeDef", {"Rules": _rules(name)})
    sent = {"Bucket": "market-data", "LifecycleConfiguration": wanted}
    with Stubber(client) as stubber:
        stubber.add_response("put_bucket_lifecycle_configuration", {}, sent)
        client.put_bucket_lifecycle_configuration(
            Bucket="market-data", LifecycleConfiguration=wanted
        )
        stubber.assert_no_pending_responses()


def test_data_files_that_are_never_replaced_become_cold() -> None:
    """A dataset replaced each month would still pay for months of its old files."""
    cold = [rule for rule in _rules("aws.json") if "Transitions" in rule]

    assert {rule["Filter"]["Prefix"] for rule in cold} == {
        f"iceberg/archive/{dataset.name}/data/"
        for dataset in ARCHIVED.values()
        if dataset.is_droppable
    }
    # Only this class of the cold ones answers at once: Iceberg's readers cannot wait for a thaw.
    assert {transition["StorageClass"] for rule in cold for transition in rule["Transitions"]} == {
        "GLACIER_IR"
    }


@pytest.mark.parametrize("name", ["aws.json", "spaces.json"])
def test_no_rule_deletes_an_object(name: str) -> None:
    """The archive's own metadata decide what may be deleted, never age."""
    for rule in _rules(name):
        assert set(rule) <= {
            "ID",
            "Status",
            "Filter",
            "Transitions",
            "AbortIncompleteMultipartUpload",
        }
    aborted = [rule for rule in _rules(name) if "AbortIncompleteMultipartUpload" in rule]
    assert [rule["Filter"] for rule in aborted] == [{"Prefix": ""}]


def test_spaces_has_one_storage_class() -> None:
    """Its lifecycle rules expire and abort, and move nothing."""
    assert not [rule for rule in _rules("spaces.json") if "Transitions" in rule]
