"""The workflows of GitHub Actions run what the Makefile has, with few rights and pinned actions."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
TARGETS = set(
    re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE)
)
PINNED = re.compile(r"^\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def read(path: Path) -> dict[Any, Any]:
    """Return a workflow; its key ``on`` is True, as YAML 1.1 has it."""
    return yaml.safe_load(path.read_text("utf-8"))


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every job with the name of its file and its own."""
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield f"{path.stem}/{name}", job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every step with the name of its job."""
    for name, job in jobs():
        for step in job.get("steps", ()):
            yield name, step


def made(command: str) -> list[str]:
    """Return the targets that a command has make build."""
    words = command.split()
    return [word for word in words[1:] if "=" not in word] if words[0] == "make" else []


def test_every_target_that_a_workflow_makes_is_in_the_makefile() -> None:
    """What a person types is what a workflow runs."""
    wanted = {
        target
        for _, step in steps()
        for line in step.get("run", "").splitlines()
        for target in made(line)
    }

    assert wanted <= TARGETS
    assert {"lint", "types", "contracts", "test", "audit", "docs", "migrations-check"} <= wanted
    assert {"images", "smoke", "push", "release", "promote", "deploy", "rollback"} <= wanted


def test_what_a_workflow_runs_besides_is_little() -> None:
    """Logins, ssh's key, a folder's owner, and the release itself: all else is make's."""
    besides = {
        " ".join(step["run"].split()[:3])
        for _, step in steps()
        if "run" in step and not made(step["run"])
    }

    assert besides == {
        "git config --global",
        "docker login ghcr.io",
        "deploy/release/give_ssh_its_key",
        "gh release create",
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_a_commit_that_names_its_version(path: Path) -> None:
    """A tag can be moved to other code. Workflows of this repository are of the same commit."""
    used = re.findall(r"uses: (.+)", path.read_text("utf-8"))

    assert used
    for action in used:
        if action.startswith("$/"):
            assert (PROJECT / action.removeprefix("$/")).is_file()
        else:
            assert PINNED.match(action), action


def test_one_action_has_one_version_everywhere() -> None:
    """Two versions would be two things to look at."""
    used = {
        use for path in WORKFLOWS for use in re.findall(r"uses: ([^$].+)", path.read_text("utf-8"))
    }

    assert len(used) == len({use.partition("@")[0] for use in used})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_rights_and_its_jobs_name_theirs(path: Path) -> None:
    """A job that names none would have none; one that is forgotten has not all."""
    workflow = read(path)

    assert workflow["permissions"] == {}
    assert all(job["permissions"] for job in workflow["jobs"].values())
    assert all("timeout-minutes" in job or "uses" in job for job in workflow["jobs"].values())


def test_only_jobs_that_publish_may_write() -> None:
    """A pull request may write nothing, whoever has made it."""
    may_write = {
        name
        for name, job in jobs()
        if any(right == "write" for right in job["permissions"].values())
    }

    assert may_write == {"image/image", "staging/image", "production/release"}


def test_secrets_are_in_jobs_of_an_environment_only() -> None:
    """An environment says who may use its secrets: for production, after an approval."""
    with_secrets = {name for name, job in jobs() if "secrets" in yaml.safe_dump(job)}
    in_environment = {name: job["environment"] for name, job in jobs() if "environment" in job}

    assert with_secrets == set(in_environment)
    assert in_environment == {
        "staging/deploy": "staging",
        "production/deploy": "production",
        "rollback/rollback": "${{ inputs.environment }}",
    }


def test_no_credential_stays_in_a_checkout() -> None:
    """What a step leaves in the folder, a later one could read."""
    checkouts = [step for _, step in steps() if "actions/checkout" in step.get("uses", "")]

    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_expression_stands_in_a_shell() -> None:
    """A branch's name or an input would be run as code; variables are not."""
    assert not [(name, step["run"]) for name, step in steps() if "${{" in step.get("run", "")]


def test_deployments_of_one_environment_follow_each_other() -> None:
    """And none is cut off half-way. Checks and images wait for no deployment."""
    groups = {
        name: job.get("concurrency") or read(FOLDER / f"{name.split('/')[0]}.yml")["concurrency"]
        for name, job in jobs()
        if "environment" in job
    }

    assert {name: found["group"] for name, found in groups.items()} == {
        "staging/deploy": "deploy-staging",
        "production/deploy": "deploy-production",
        "rollback/rollback": "deploy-${{ inputs.environment }}",
    }
    assert not any(found["cancel-in-progress"] for found in groups.values())


def program(name: str) -> str:
    """Return a program of the set `lint`; skip the test where that is not installed."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed: make .venv/has-lint")
    return found


def complaint(*command: str) -> str:
    """Return what a program says where it finds something."""
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def test_actionlint_and_zizmor_find_nothing() -> None:
    """Forms of workflows, shells in them, and known ways to attack them."""
    shellcheck = program("shellcheck")

    assert not complaint(program("actionlint"), "-shellcheck", shellcheck)
    assert not complaint(program("zizmor"), "--offline", "--no-progress", ".github")


def test_shellcheck_finds_nothing_in_the_scripts_of_releases() -> None:
    """They are run with a deployment's rights."""
    scripts = [
        str(path)
        for path in sorted((PROJECT / "deploy" / "release").iterdir())
        if path.is_file() and path.read_text("utf-8").startswith("#!")
    ]

    assert len(scripts) > 5
    assert not complaint(program("shellcheck"), *scripts)
