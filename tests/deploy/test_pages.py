"""Pages of docs/deploy: every command before the point where an account is needed is executed.

Each block is one script, in the order of the page. Terraform's providers are stood in for by their
schemas (schema_server.py). What is not executed is named here with its reason, and on the page.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.deploy.schema_server import schema_servers

PROJECT = Path(__file__).parents[2]
PAGES = sorted((PROJECT / "docs" / "deploy").glob("*.md"))
BEFORE = "## Without an account"
POINT = "## From here on an account is needed"
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_EXECUTED = {
    "make images": "takes minutes, and docker or buildah (tests/deploy has its own test)",
    "make demo": "takes four minutes (tests/demo executes it)",
    "docker compose": "there is no docker in the tests",
}
# One folder for Terraform's files in each place, none of them in the checkout. And the environment
# that the tests run in is not installed anew under their feet.
PRELUDE = """set -euo pipefail
terraform() {
  TF_DATA_DIR="$TERRAFORM_HOME/$(echo "$1" | tr -c 'a-zA-Z0-9\\n' -)" command terraform "$@"
}
make() {
  command make --old-file pyproject.toml --old-file requirements.lock "$@"
}
"""


def pages() -> list[Path]:
    """Return the pages that have such a point; Kubernetes' has a form of its own."""
    return [page for page in PAGES if POINT in page.read_text("utf-8")]


def blocks(page: Path) -> list[str]:
    """Return the blocks of commands before the point where an account is needed."""
    text = page.read_text("utf-8")
    return BLOCK.findall(text[text.index(BEFORE) : text.index(POINT)])


def executed(block: str) -> str:
    """Return the commands of a block that can be executed here."""
    commands = block.replace("\\\n", "").splitlines(keepends=True)
    return "".join(each for each in commands if not each.startswith(tuple(NOT_EXECUTED)))


CASES = [
    pytest.param(script, id=f"{page.stem} {number}")
    for page in pages()
    for number, block in enumerate(blocks(page), start=1)
    if (script := executed(block))
]


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, str]]:
    """A user's environment, without any setting of ours."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed: developer.hashicorp.com/terraform/install")
    home = tmp_path_factory.mktemp("terraform")
    (home / "terraformrc").touch()
    with schema_servers() as found:
        yield {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TERRAFORM_HOME": str(home),
            "TF_CLI_CONFIG_FILE": str(home / "terraformrc"),
            "CHECKPOINT_DISABLE": "1",
            **found,
        }


@pytest.mark.servers
@pytest.mark.parametrize("script", CASES)
def test_commands_work_as_they_stand(surroundings: dict[str, str], script: str) -> None:
    """Whoever copies a block meets no error; make finds the environment that the tests run in."""
    assert Path(sys.executable).parent == PROJECT / ".venv" / "bin"
    done = subprocess.run(
        ["bash", "-c", PRELUDE + script],
        cwd=PROJECT,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_page_for_each_platform_with_its_point() -> None:
    """The three platforms have numbered steps on both sides of the point."""
    assert {page.stem for page in pages()} >= {"aws", "digitalocean", "single_host"}
    for page in pages():
        before, after = page.read_text("utf-8").split(POINT)
        steps = [
            int(number) for number in re.findall(r"^### (\d+)\. ", before + after, re.MULTILINE)
        ]

        assert steps == list(range(1, len(steps) + 1))
        assert re.search(r"^### \d", before, re.MULTILINE)
        assert re.search(r"^### \d", after, re.MULTILINE)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_page_says_what_is_not_executed(page: Path) -> None:
    """A reader knows which steps nobody has tried."""
    text = page.read_text("utf-8")
    said = text[text.index(BEFORE) : text.index("### 1.")]
    left_out = {
        command
        for block in blocks(page)
        for line in block.splitlines()
        for command in NOT_EXECUTED
        if line.startswith(command)
    }

    assert [command for command in left_out if f"`{command}`" not in said] == []
    assert "Nothing of the following was tried" in text[text.index(POINT) :]
