"""A real Prometheus that scrapes pages of a test, and what it answers."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from machine.processes import NO_AUTHORITIES, wait_until
from monitoring import prometheus
from monitoring.alerts import AlertRule
from monitoring.files import as_yaml
from sandbox.simulators import serving

Pages = Mapping[str, Callable[[int], str]]
"""What each job serves at its n-th scrape."""


@contextmanager
def served(pages: Pages) -> Generator[dict[str, str]]:
    """Serve pages on loopback; yield host and port of each job."""
    scrapes = dict.fromkeys(pages, 0)

    def answer(request: Request) -> PlainTextResponse:
        job = request.path_params["job"]
        scrapes[job] += 1
        return PlainTextResponse(pages[job](scrapes[job]))

    application = Starlette(routes=[Route("/{job}/metrics", answer)])
    with serving.serve(application) as origin:
        address = origin.removeprefix("http://")
        yield dict.fromkeys(pages, address)


def asked(origin: str, expression: str) -> list[Any]:
    """Return Prometheus' answer to an expression, now."""
    answer = httpx.get(
        f"{origin}/api/v1/query", params={"query": expression}, verify=NO_AUTHORITIES, timeout=30
    ).json()
    assert answer["status"] == "success", answer
    return answer["data"]["result"]


def write_configuration(
    folder: Path, addresses: Mapping[str, str], rules: Mapping[str, Sequence[AlertRule]]
) -> None:
    """Write what Prometheus needs to scrape served pages every second, and to judge rules."""
    content = prometheus.configuration(scraped=addresses, interval=timedelta(seconds=1))
    for scraped in content["scrape_configs"]:
        scraped["metrics_path"] = f"/{scraped['job_name']}/metrics"
    (folder / "prometheus.yml").write_text(as_yaml(content))
    (folder / "rules.yml").write_text(as_yaml(prometheus.rules_file(rules)))


def wait_for_scrapes(origin: str, count: int) -> None:
    """Wait until Prometheus has asked every job so many times."""
    scraped = f"min(count_over_time(up[5m])) >= {count}"
    assert wait_until(lambda: bool(asked(origin, scraped)), within_s=90, every_s=0.5)
