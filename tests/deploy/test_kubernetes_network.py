"""Who reaches whom in the cluster: the database is the pipeline's, and every needed way is open."""

import itertools
from typing import Any

import pytest
import yaml

from tests.deploy.kept_chart import EXAMPLE, VARIANTS, kept, pods
from tests.deploy.network_rules import Labels, Policy, allows

PIPELINE = {
    "code", "daemon", "viewers", "operators", "run", "worker", "worker-scheduled", "exporter",
    "migrate", "backup",
}  # fmt: skip
OTHERS = {"proxy", "test", "somebody else"}
HERE = {
    ("daemon", "code", 4000), ("viewers", "code", 4000), ("operators", "code", 4000),
    ("proxy", "viewers", 3000), ("proxy", "operators", 3000), ("exporter", "viewers", 3000),
    ("test", "exporter", 9464),
}  # fmt: skip
"""Every way between two pods of the namespace."""
PORTS = (3000, 4000, 8443, 9464)


def policies(variant: str, *, namespace: str | None = None) -> list[Policy]:
    """Return the network policies of the installation's namespace, or of another one."""
    return [
        found
        for found in kept(variant)
        if found["kind"] == "NetworkPolicy" and found["metadata"].get("namespace") == namespace
    ]


def labels(component: str) -> Labels:
    """Return the labels by which policies know a pod."""
    return {"app.kubernetes.io/part-of": "wrdata", "app.kubernetes.io/component": component}


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_pipeline_reaches_the_database(variant: str) -> None:
    """On the way out of this namespace."""
    reaching = {
        component
        for component in PIPELINE | OTHERS
        if allows(policies(variant), "Egress", labels(component), "timescaledb", 5432)
    }

    assert reaching == PIPELINE


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_database_lets_in_only_the_pipeline(variant: str) -> None:
    """By a policy beside it, where it is in the cluster: from this namespace and these pods."""
    (policy,) = policies(variant, namespace="database")
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]

    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "timescaledb"}
    assert [port["port"] for port in rule["ports"]] == [5432]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "wrdata"}
    assert set(peer["podSelector"]["matchExpressions"][0]["values"]) == PIPELINE


@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_reach_each_other_only_where_they_have_to(variant: str) -> None:
    """Both sides have to agree."""
    here = policies(variant)
    open_ways = {
        (one, other, port)
        for one, other in itertools.permutations(PIPELINE | OTHERS, 2)
        for port in PORTS
        if allows(here, "Egress", labels(one), labels(other), port)
        and allows(here, "Ingress", labels(other), labels(one), port)
    }

    assert open_ways == HERE


@pytest.mark.parametrize("variant", VARIANTS)
def test_nobody_reaches_anything_that_is_not_named(variant: str) -> None:
    """Not even a pod without labels."""
    for component in PIPELINE | OTHERS:
        assert not allows(policies(variant), "Egress", labels(component), "8.8.8.8/32", 25)
        assert not allows(policies(variant), "Ingress", labels(component), "8.8.8.8/32", 22)
    assert not allows(policies(variant), "Egress", {}, "timescaledb", 5432)
    assert not allows(policies(variant), "Ingress", {}, labels("worker"), 80)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pod_resolves_names(variant: str) -> None:
    """Without that, nothing else works."""
    for component in PIPELINE | OTHERS:
        assert allows(policies(variant), "Egress", labels(component), "kube-dns", 53)


def test_queues_and_the_api_of_kubernetes_are_for_who_needs_them() -> None:
    """Redis where workers take runs from it; the API where runs are jobs, and for three only."""
    launching = {"daemon", "viewers", "operators"}

    def reaching(variant: str, peer: str, port: int) -> set[str]:
        return {
            component
            for component in PIPELINE | OTHERS
            if allows(policies(variant), "Egress", labels(component), peer, port)
        }

    assert reaching("workers", "redis", 6379) == PIPELINE
    assert reaching("jobs", "redis", 6379) == set()
    assert reaching("jobs", "10.0.0.1/32", 6443) == launching
    assert reaching("workers", "10.0.0.1/32", 6443) == set()


@pytest.mark.parametrize("variant", VARIANTS)
def test_those_outside_reach_the_proxy_and_prometheus_the_exporter(variant: str) -> None:
    """From where the values say."""
    here = policies(variant)

    assert allows(here, "Ingress", labels("proxy"), "10.0.0.0/8", 8443)
    assert allows(here, "Ingress", labels("exporter"), "monitoring", 9464)
    for component in PIPELINE - {"exporter"}:
        assert not allows(here, "Ingress", labels(component), "10.0.0.0/8", 3000)
        assert not allows(here, "Ingress", labels(component), "monitoring", 9464)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_machines_own_credentials_are_out_of_reach(variant: str) -> None:
    """Addresses within the network are left out of what is reached by TLS."""
    (pipeline,) = (found for found in policies(variant) if found["metadata"]["name"] == "pipeline")
    (outside,) = (
        peer["ipBlock"]
        for rule in pipeline["spec"]["egress"]
        for peer in rule["to"]
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    )

    assert {"169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= set(
        outside["except"]
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_rule_is_open_to_all(variant: str) -> None:
    """A rule without peers lets everybody through: an empty list of values must not make one."""
    example: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    rules = [
        (rule, side)
        for policy in (*policies(variant), *policies(variant, namespace="database"))
        for direction, side in (("ingress", "from"), ("egress", "to"))
        for rule in policy["spec"].get(direction, [])
    ]

    assert len(rules) > len(example["network"])
    assert [rule for rule, side in rules if not rule.get(side)] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_policies_know_every_pod_that_there_is(variant: str) -> None:
    """A new kind of pod reaches nothing until it is named; then it belongs here too."""
    components = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]
        for _, template in pods(kept(variant))
    }

    assert components <= PIPELINE | OTHERS
