"""The chart for Kubernetes as Helm renders it, kept for the tests that have no Helm.

Here: what is rendered, rendering it by Helm's library, and the kept files with the mark of the
chart they were rendered from. Not here: what has to be true of the objects (test_kubernetes.py), or
whether the kept files are what Helm makes of the chart today (test_kubernetes_rendering.py).

`make kubernetes` writes the kept files anew.
"""

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy" / "kubernetes"
CHART = FOLDER / "wrdata"
EXAMPLE = FOLDER / "example-values.yaml"
KEPT = Path(__file__).parent / "kept_chart"
Object = dict[str, Any]

EVERYTHING: Mapping[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}],
    "externalSecrets": {"enabled": True, "store": {"name": "secrets-manager"}},
    "exporter": {"monitors": {"enabled": True, "labels": {"release": "prometheus"}}},
    "proxy": {"service": {"type": "LoadBalancer", "annotations": {"example.com/kind": "internal"}}},
    "backup": {"enabled": True, "image": "registry.example.com/market-data/backup:0.1.0"},
    "workers": {
        "autoscaling": {"enabled": True, "prometheus": "http://prometheus.monitoring:9090"}
    },
}
"""Whatever is off by default."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {"workers": EVERYTHING, "jobs": {"runs": "jobs"}}
"""What is kept: values beside those of example-values.yaml."""


def merged(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with others over them, as Helm does."""
    return {**values} | {
        key: merged(values[key], value) if isinstance(value, Mapping) and key in values else value
        for key, value in others.items()
    }


def values_of(variant: str) -> dict[str, Any]:
    """Return the values of a variant that are not the chart's defaults."""
    return merged(yaml.safe_load(EXAMPLE.read_text("utf-8")), VARIANTS[variant])


def rendered(variant: str) -> list[Object]:
    """Render a variant by Helm's library, which has to be installed."""
    chart = importlib.import_module("helm_python").Chart.load(CHART)
    texts: dict[str, str] = chart.render(values_of(variant), name="wrdata", namespace="wrdata")
    return [
        found for _, text in sorted(texts.items()) for found in yaml.safe_load_all(text) if found
    ]


def mark() -> str:
    """Return a digest of all that the kept files are made from, but for files of other rooms."""
    digest = hashlib.sha256(json.dumps({**VARIANTS}, sort_keys=True).encode())
    for file in (EXAMPLE, *sorted(CHART.rglob("*"))):
        if file.is_file() and file.parent.name != "files":
            digest.update(f"{file.relative_to(FOLDER)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def without_other_rooms(found: Object) -> Object:
    """Return an object without what it takes from files of other rooms: those change alone."""
    kept = cast("Object", json.loads(json.dumps(found)))
    match kept["kind"], kept["metadata"]["name"]:
        case "ConfigMap", "wrdata-instance":
            del kept["data"]["dagster.yaml"]
        case "PrometheusRule", _:
            kept["spec"] = {"groups": []}
        case _:
            kept.get("spec", {}).get("template", {}).get("metadata", {}).pop("annotations", None)
    return kept


def written(objects: list[Object]) -> str:
    """Return objects as the text of a kept file."""
    head = f"# Written by `make kubernetes`: change deploy/kubernetes instead.\n# {mark()}\n"
    return head + yaml.safe_dump_all(map(without_other_rooms, objects), sort_keys=False)


@cache
def kept_text(variant: str) -> str:
    """Return a kept file."""
    return (KEPT / f"{variant}.yaml").read_text("utf-8")


@cache
def kept(variant: str) -> tuple[Object, ...]:
    """Return the objects of a kept file."""
    return tuple(yaml.safe_load_all(kept_text(variant)))


def pods(objects: list[Object] | tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Yield each object that makes pods, by its name, with the template of them."""
    for found in objects:
        name = found["metadata"]["name"]
        match found["kind"]:
            case "Deployment" | "Job":
                yield name, found["spec"]["template"]
            case "CronJob":
                yield name, found["spec"]["jobTemplate"]["spec"]["template"]
            case "Pod":
                yield name, {"metadata": found["metadata"], "spec": found["spec"]}
            case _:
                pass


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for each in VARIANTS:
        (KEPT / f"{each}.yaml").write_text(written(rendered(each)))
