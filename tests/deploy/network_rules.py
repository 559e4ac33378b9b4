"""Who reaches whom by Kubernetes' network policies.

Here: policies over pods of one namespace that are told apart by their labels, as their
documentation says (https://kubernetes.io/docs/concepts/services-networking/network-policies/). Not
here: which ways there have to be (test_kubernetes_network.py).
"""

from collections.abc import Iterable, Mapping
from typing import Any

Policy = Mapping[str, Any]
Labels = Mapping[str, str]


def is_chosen(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Return whether a label selector chooses something with these labels."""
    wanted: Labels = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for expression in selector.get("matchExpressions", []):
        if expression["operator"] != "In":
            message = f"no such operator is expected here: {expression['operator']}"
            raise AssertionError(message)
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def is_open(rule: Mapping[str, Any], side: str, other: Labels | str, port: int) -> bool:
    """Return whether a rule lets through: to a pod of this namespace, or to a peer that it names.

    Args:
        rule: Of a policy's ingress or egress.
        side: ``from`` or ``to``.
        other: The labels of a pod here; for others a text that has to stand in the peer.
        port: Its port.
    """
    ports = [entry["port"] for entry in rule.get("ports", [])]
    if ports and port not in ports:
        return False
    peers = rule.get(side, [])
    return not peers or any(_fits(peer, other) for peer in peers)


def _fits(peer: Mapping[str, Any], other: Labels | str) -> bool:
    if isinstance(other, str):
        return other in str(peer)
    return set(peer) == {"podSelector"} and is_chosen(peer["podSelector"], other)


def allows(
    policies: Iterable[Policy], direction: str, labels: Labels, other: Labels | str, port: int
) -> bool:
    """Return whether a pod may reach another, or be reached: by any policy that chooses it.

    Args:
        policies: Of the pod's namespace.
        direction: ``Ingress`` or ``Egress``.
        labels: The pod's.
        other: As in :func:`is_open`.
        port: The port that is reached.
    """
    side = {"Ingress": "from", "Egress": "to"}[direction]
    applying = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"]
        and is_chosen(policy["spec"]["podSelector"], labels)
    ]
    rules = [rule for spec in applying for rule in spec.get(direction.lower(), [])]
    return not applying or any(is_open(rule, side, other, port) for rule in rules)
