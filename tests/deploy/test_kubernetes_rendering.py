"""The chart by Helm itself: what it renders is kept, and fits the schemas of Kubernetes."""

import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kept_chart import (
    CHART,
    FOLDER,
    PROJECT,
    VARIANTS,
    kept_text,
    rendered,
    values_of,
    written,
)

pytestmark = pytest.mark.long

HELM = "Helm's library is not installed: make .venv/has-kubernetes"
helm: Any = pytest.importorskip("helm_python", reason=HELM)
schemas: Any = pytest.importorskip("kubernetes_validate", reason=HELM)

VERSIONS = ("1.27", "1.33", "1.37")
"""Of Kubernetes: the oldest that Chart.yaml takes, to the newest that there are schemas of."""
WITHOUT_SCHEMA = {"ExternalSecret", "ScaledObject", "ServiceMonitor", "PrometheusRule"}
"""Kinds of others; test_kubernetes.py looks at them."""


def named(kind: str, name: str, variant: str) -> Any:
    """Return an object."""
    (found,) = (
        each
        for each in rendered(variant)
        if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_kept_files_are_what_helm_renders(variant: str) -> None:
    """The other tests look at those."""
    assert kept_text(variant) == written(rendered(variant))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_kubernetes_knows_every_field(variant: str, version: str) -> None:
    """Strictly: a misspelt field is an error, not ignored."""
    without_schema: set[str] = set()
    for found in [*rendered(variant), yaml.safe_load((FOLDER / "namespace.yaml").read_text())]:
        try:
            schemas.validate(found, version, strict=True)
        except schemas.SchemaNotFoundError:
            without_schema.add(found["kind"])

    assert without_schema <= WITHOUT_SCHEMA


def test_a_misspelt_field_is_found() -> None:
    """The check above can fail."""
    daemon = named("Deployment", "daemon", "jobs")
    daemon["spec"]["template"]["spec"]["enableServiceLink"] = False

    with pytest.raises(schemas.ValidationError, match="enableServiceLink"):
        schemas.validate(daemon, VERSIONS[0], strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_helm_finds_nothing_wrong(variant: str) -> None:
    """Its own lint, strictly; an icon is not needed."""
    report = helm.lint(CHART, values_of(variant), strict=True, kube_version="v1.33.0")

    assert report["errors"] == []
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


@pytest.mark.parametrize(
    ("variant", "launcher"), [("workers", "celery.yaml"), ("jobs", "kubernetes.yaml")]
)
def test_the_instance_is_the_file_of_its_launcher(variant: str, launcher: str) -> None:
    """It stands in one place only."""
    instance = named("ConfigMap", "wrdata-instance", variant)["data"]["dagster.yaml"]

    assert instance.strip() == (PROJECT / "deploy/launchers" / launcher).read_text("utf-8").strip()


def test_the_alert_rules_are_those_of_the_project() -> None:
    """Their own templates are not Helm's."""
    rules = yaml.safe_load((PROJECT / "deploy/monitoring/rules.yml").read_text("utf-8"))

    assert named("PrometheusRule", "wrdata", "workers")["spec"] == rules


def test_a_package_holds_the_files_of_other_rooms(tmp_path: Path) -> None:
    """They are links in the checkout, and files in what is uploaded."""
    helm.Chart.load(CHART).save(tmp_path)
    (package,) = tmp_path.glob("wrdata-*.tgz")
    with tarfile.open(package) as archive:
        member = archive.extractfile("wrdata/files/celery.yaml")
        assert member is not None
        text = member.read().decode()

    assert text == (PROJECT / "deploy/launchers/celery.yaml").read_text("utf-8")


def test_helm_refuses_an_installation_that_names_nothing() -> None:
    """What has no default is asked for, in one go."""
    with pytest.raises(helm.HelmValuesError) as refused:
        helm.Chart.load(CHART).render({}, name="wrdata", namespace="wrdata")

    for missing in ("/image/registry", "WRDATA_ARCHIVE_BUCKET", "/network/database/peers"):
        assert missing in str(refused.value)


def test_runs_as_jobs_are_refused_in_another_namespace() -> None:
    """The launcher's file names the namespace."""
    with pytest.raises(helm.HelmRenderError, match="namespace wrdata"):
        helm.Chart.load(CHART).render(values_of("jobs"), name="wrdata", namespace="elsewhere")
