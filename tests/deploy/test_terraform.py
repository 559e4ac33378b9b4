"""Terraform's files: formatted, valid against the providers' schemas, and planned with mocks.

Terraform itself judges them. No registry is asked: schema_server.py serves what the providers would
say of their arguments. What no schema knows is not tried anywhere here: whether a size, a region
or a version is on offer, and what the clouds do when they are asked.
"""

import configparser
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import yaml

from resources.settings import known_variables
from tests.deploy.schema_server import SCHEMAS, schema_servers
from tests.docs.test_pages import misfit

PROJECT = Path(__file__).parents[2]
TERRAFORM = PROJECT / "deploy" / "terraform"
FILES = sorted(TERRAFORM.rglob("*.tf"))
TESTED = sorted({file.parents[1] for file in TERRAFORM.rglob("*.tftest.hcl")})
MODULES = [folder for folder in TESTED if "modules" in folder.parts]
VALUES = sorted(TERRAFORM.rglob("*.tfvars"))
BLOCK = re.compile(r'^(resource|data) "(\w+)"', re.MULTILINE)
VARIABLE = re.compile(r'^variable "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
SECRET = re.compile(r"password|token|private_key|passphrase")
COMMAND = re.compile(r'\[\s*("wrdata",[^\]]*)\]', re.DOTALL)

Terraform = Callable[..., subprocess.CompletedProcess[str]]


def needs_terraform(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that starts Terraform; without it, it is skipped."""
    skip = pytest.mark.skipif(
        shutil.which("terraform") is None,
        reason="terraform is not installed: developer.hashicorp.com/terraform/install",
    )
    return pytest.mark.servers(skip(test))


def named(path: Path) -> str:
    """Return a place below deploy/terraform, as a test's name."""
    return str(path.relative_to(TERRAFORM))


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Generator[Terraform]:
    """Terraform with providers that know their schemas; its own files lie elsewhere."""
    home = tmp_path_factory.mktemp("terraform")
    (home / "terraformrc").touch()
    with schema_servers() as found:

        def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
            data = home / folder.as_posix().strip("/").replace("/", "-")
            return subprocess.run(
                ["terraform", f"-chdir={folder}", *words, "-no-color"],
                env={
                    **os.environ,
                    **found,
                    "TF_DATA_DIR": str(data),
                    "TF_CLI_CONFIG_FILE": str(home / "terraformrc"),
                    "CHECKPOINT_DISABLE": "1",
                },
                capture_output=True,
                text=True,
                check=False,
            )

        yield run


def used() -> set[tuple[str, str]]:
    """Return kind and type of every resource and data source in the files."""
    texts = [file.read_text("utf-8") for file in FILES]
    return {(found[1], found[2]) for text in texts for found in BLOCK.finditer(text)}


def passes(done: subprocess.CompletedProcess[str]) -> bool:
    """Say whether Terraform was content; if not, its words are the test's."""
    assert done.returncode == 0, done.stdout + done.stderr
    return True


@needs_terraform
def test_files_have_terraforms_own_form(terraform: Terraform) -> None:
    """`terraform fmt` would change nothing."""
    assert passes(terraform(TERRAFORM, "fmt", "-check", "-diff", "-recursive"))


@needs_terraform
@pytest.mark.parametrize("folder", MODULES, ids=named)
def test_a_module_does_what_its_tests_say(terraform: Terraform, folder: Path) -> None:
    """Each module's own tests, on mocked providers."""
    assert passes(terraform(folder, "init", "-backend=false"))
    done = terraform(folder, "test")

    assert passes(done)
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", done.stdout)


@needs_terraform
@pytest.mark.parametrize("values", VALUES, ids=named)
def test_an_environment_is_valid_and_can_be_planned(terraform: Terraform, values: Path) -> None:
    """With the values of dev, staging and production, as far as a plan goes without an account."""
    assert passes(terraform(values.parent, "init", "-backend=false"))
    assert passes(terraform(values.parent, "validate"))
    done = terraform(values.parent, "test", f"-var-file={values.name}")

    assert passes(done)
    assert "Success! 1 passed, 0 failed" in done.stdout


@needs_terraform
@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ('siz = "s-1vcpu-1gb"', "Unsupported argument"),
        ('size = ["s-1vcpu-1gb"]', "Incorrect attribute value type"),
        ("", "Missing required argument"),
        ('size = "s-1vcpu-1gb"\n  disk {}', "Unsupported block type"),
        ("size = digitalocean_vpc.none.id", "Reference to undeclared resource"),
    ],
)
def test_what_no_schema_allows_is_refused(
    terraform: Terraform, tmp_path: Path, argument: str, complaint: str
) -> None:
    """Otherwise all the tests above would prove nothing."""
    (tmp_path / "versions.tf").write_text(
        (TERRAFORM / "modules/digitalocean/workers/versions.tf").read_text("utf-8"), "utf-8"
    )
    (tmp_path / "main.tf").write_text(
        'resource "digitalocean_droplet" "one" {\n  name = "one"\n  image = "debian-12-x64"\n'
        f"  {argument}\n}}\n",
        "utf-8",
    )
    assert passes(terraform(tmp_path, "init"))

    done = terraform(tmp_path, "validate")

    assert done.returncode == 1
    assert complaint in done.stderr + done.stdout


def test_schemas_are_those_of_what_is_used() -> None:
    """No resource is without its schema, and no schema is kept for nothing."""
    kept = {
        (kind, name)
        for file in SCHEMAS.glob("*.json")
        for kind in ("resource", "data")
        for name in json.loads(file.read_text("utf-8"))[kind]
    }

    assert kept == used()


def test_providers_are_pinned_to_the_versions_of_the_schemas() -> None:
    """What was checked is what is installed, or a later minor version of it."""
    pins = {
        found
        for file in TERRAFORM.rglob("versions.tf")
        for found in re.findall(
            r'source\s*=\s*"\w+/(\w+)"\s*version\s*=\s*"([^"]+)"', file.read_text("utf-8")
        )
    }
    versions = {
        file.stem: json.loads(file.read_text("utf-8"))["version"] for file in SCHEMAS.glob("*.json")
    }

    assert pins == {
        (name, f"~> {version.rpartition('.')[0]}") for name, version in versions.items()
    }


def test_every_resource_stands_in_a_module_that_pins_its_provider() -> None:
    """A module without a pin would take any version."""
    unpinned = [
        named(file)
        for file in FILES
        if (found := BLOCK.search(file.read_text("utf-8")))
        and f"{found[2].partition('_')[0]} = {{"
        not in (file.parent / "versions.tf").read_text("utf-8")
    ]

    assert unpinned == []


def test_secrets_have_no_default_and_are_not_shown() -> None:
    """A password in a file would be in everybody's clone."""
    variables = [
        (file, name, body)
        for file in TERRAFORM.rglob("variables.tf")
        for name, body in VARIABLE.findall(file.read_text("utf-8"))
    ]
    secret = [each for each in variables if SECRET.search(each[1])]

    assert {name for _, name, _ in secret} == {"queue_password", "password"}
    assert [name for _, name, body in secret if "default" in body] == []
    assert [name for _, name, body in secret if "sensitive   = true" not in body] == []
    assert [
        file for file in VALUES if re.search(r"(?m)^\w*password", file.read_text("utf-8"))
    ] == []


def test_variables_and_outputs_say_what_they_are() -> None:
    """Whoever fills them in reads nothing else."""
    silent = [
        f"{named(file)}: {name}"
        for file in FILES
        for name, body in re.findall(
            r'^(?:variable|output) "(\w+)" \{\n(.*?)^\}',
            file.read_text("utf-8"),
            re.MULTILINE | re.DOTALL,
        )
        if "description =" not in body
    ]

    assert silent == []


def test_commands_of_containers_are_ours() -> None:
    """Each line is whole: no word is missing or superfluous."""
    lines = {
        " ".join(re.findall(r'"([^"]*)"', words)[1:])
        for file in FILES
        for words in COMMAND.findall(file.read_text("utf-8"))
    }
    plain = {re.sub(r"\$\{[^}]*\}", "x", line) for line in lines}

    assert {"daemon --standby --workspace /opt/wrdata/workspace.yaml"} <= plain
    assert {line: why for line in plain if (why := misfit(line))} == {}


def test_settings_of_containers_are_known() -> None:
    """A misspelt variable would stop every process of production."""
    text = "\n".join(file.read_text("utf-8") for file in [*FILES, *VALUES])
    named_here = set(
        re.findall(r"\b(?:WRDATA_[A-Z0-9_]+|[A-Z]+_API_KEY|AWS_[A-Z_]*KEY\w*)\b", text)
    )

    assert "WRDATA_ARCHIVE_BUCKET" in named_here
    assert named_here - known_variables() == set()


def test_state_of_environments_lies_apart() -> None:
    """What is done to dev never touches production's state."""
    keys = [
        found[1]
        for file in sorted(TERRAFORM.rglob("*.s3.tfbackend"))
        if (found := re.search(r'^key\s*= "(.*)"', file.read_text("utf-8"), re.MULTILINE))
    ]

    assert len(keys) == len(set(keys)) == len(VALUES)


@needs_terraform
def test_a_fresh_machine_gets_units_and_a_command_that_can_be_read(
    terraform: Terraform, tmp_path: Path
) -> None:
    """The files that cloud-init would write are well-formed, and name each other rightly."""
    service = {"image": "registry.example.com/wrdata-daemon", "memory_mb": 512}
    values = {
        "services": {"daemon": service | {"command": ["wrdata", "daemon", "--standby"]}},
        "command_image": "registry.example.com/wrdata-daemon",
        "release": "1.0.0",
        "dagster_instance": (PROJECT / "deploy/launchers/celery.yaml").read_text("utf-8"),
        "proxy_template": (PROJECT / "deploy/proxy/nginx.conf.template").read_text("utf-8"),
    }
    (tmp_path / "terraform.tfvars.json").write_text(json.dumps(values), "utf-8")
    folder = TERRAFORM / "modules" / "container_host"
    state = f"-state={tmp_path / 'terraform.tfstate'}"
    assert passes(terraform(folder, "init"))
    assert passes(
        terraform(
            folder, "apply", "-auto-approve", state, f"-var-file={tmp_path}/terraform.tfvars.json"
        )
    )
    text = terraform(folder, "output", "-raw", state, "cloud_init").stdout
    machine = yaml.safe_load(text)
    written = {file["path"]: file["content"] for file in machine["write_files"]}

    assert yaml.safe_load(written["/etc/wrdata/dagster.yaml"])["run_launcher"]["class"]
    template = written["/etc/wrdata/nginx.conf.template"]
    assert template == values["proxy_template"]
    units = {
        path: configparser.ConfigParser(interpolation=None)
        for path in written
        if path.endswith(".service")
    }
    for path, unit in units.items():
        unit.read_string(written[path])
        assert unit["Service"]["execstart"]  # configparser knows no capitals.
        assert ["systemctl", "enable", "--now", Path(path).stem] in machine["runcmd"]
    daemon = units["/etc/systemd/system/wrdata-daemon.service"]["Service"]
    assert daemon["execstart"].endswith(
        "--entrypoint wrdata registry.example.com/wrdata-daemon:${RELEASE} daemon --standby"
    )
    assert daemon["environmentfile"] in written
    command = written["/usr/local/bin/wrdata"]
    assert subprocess.run(["sh", "-n"], input=command, text=True, check=False).returncode == 0
    assert "${SETTINGS_FILE:-/etc/wrdata/environment}" in command


def checkov() -> str:
    """Return the program; it cannot be in our environment, whose libraries it is too old for."""
    program = shutil.which("checkov")
    if program is None:
        pytest.skip("checkov is not installed: uv tool install checkov==3.3.30")
    return program


@pytest.mark.long
def test_checkov_finds_what_is_accepted_and_nothing_else(tmp_path: Path) -> None:
    """Each finding has its reason in checkov.yaml, and each reason its finding."""
    config = TERRAFORM / "checkov.yaml"
    accepted = yaml.safe_load(config.read_text("utf-8"))["skip-check"]
    done = subprocess.run(
        [
            checkov(),
            "--directory",
            str(TERRAFORM),
            "--framework",
            "terraform",
            "--skip-download",
            "--compact",
            "--output",
            "json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)

    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] > 100
    assert {each["check_id"] for each in found["results"]["failed_checks"]} == set(accepted)
