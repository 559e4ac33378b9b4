"""The scripts of deploy/release, in repositories of their own.

What needs a Docker daemon, a registry or another host runs with programs in their place that only
write down how they were called.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
MIGRATIONS = "resources/storage/sql/migrations"
READY = {
    "pyproject.toml": '[project]\nname = "wrdata"\nversion = "1.2.0"\n',
    "CHANGELOG.md": "# Changelog\n\n## 1.2.0 (2026-12-01)\n\n- Something.\n",
    "docs/how-to/upgrade.md": "# Upgrade\n\n## Notes\n\n### 1.2.0\n\nNothing is to be done.\n",
    "dagster.yaml": "",
    "workspace.yaml": "",
    f"{MIGRATIONS}/0001_create_thing.sql": "create table thing (a int);\n",
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that is ready to be released, with one commit."""
    folder = tmp_path / "repository"
    shutil.copytree(PROJECT / "deploy" / "release", folder / "deploy" / "release")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    write(folder, READY)
    return folder


def git(folder: Path, *words: str) -> None:
    """Run git as somebody."""
    somebody = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]
    subprocess.run(["git", *somebody, *words], cwd=folder, check=True, capture_output=True)


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files and commit them."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Change something")


def run(folder: Path, script: str, *words: str, **variables: str) -> tuple[int, str]:
    """Run a script of deploy/release; return its status and all that it prints."""
    done = subprocess.run(
        [folder / "deploy" / "release" / script, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder.parent), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_version_is_that_of_pyproject(repository: Path) -> None:
    """It stands in no other file."""
    assert run(repository, "version") == (0, "1.2.0\n")


def test_a_release_lacks_nothing(repository: Path) -> None:
    """Before its tag, and at its tag."""
    assert run(repository, "check_release") == (0, "")
    git(repository, "tag", "v1.2.0")
    assert run(repository, "check_release", TAG="v1.2.0") == (0, "")


@pytest.mark.parametrize(
    ("files", "lack"),
    [
        ({"CHANGELOG.md": "## Unreleased\n"}, 'CHANGELOG.md has no section "## 1.2.0 (date)"'),
        ({"CHANGELOG.md": "## 1x2.0 (2026)\n"}, 'CHANGELOG.md has no section "## 1.2.0 (date)"'),
        ({"docs/how-to/upgrade.md": "### 1.1.0\n"}, 'has no notes "### 1.2.0"'),
    ],
)
def test_a_release_says_what_it_lacks(repository: Path, files: dict[str, str], lack: str) -> None:
    """In a line with what to do."""
    write(repository, files)

    status, said = run(repository, "check_release")

    assert status == 1
    assert lack in said
    assert said.count("error: ") == 1


def test_a_version_is_released_once(repository: Path) -> None:
    """Another commit has the tag."""
    git(repository, "tag", "v1.2.0")
    write(repository, {"more.txt": "more"})

    status, said = run(repository, "check_release")

    assert (status, "v1.2.0 is another commit already" in said) == (1, True)


def test_a_tag_has_to_be_the_version(repository: Path) -> None:
    """A tag v1.3.0 on version 1.2.0 would release wheels of another name."""
    status, said = run(repository, "check_release", TAG="v1.3.0")

    assert (status, "the tag v1.3.0 is not v1.2.0" in said) == (1, True)


def test_what_is_not_committed_is_not_released(repository: Path) -> None:
    """Wheels would hold what no commit has."""
    (repository / "more.txt").write_text("more")

    status, said = run(repository, "check_release")

    assert (status, "not committed" in said) == (1, True)


def test_before_the_first_release_nothing_is_tested_and_that_is_said(repository: Path) -> None:
    """A green check must not look like a test that was run."""
    status, said = run(repository, "check_migrations")

    assert status == 0
    assert "no release before this commit" in said
    assert "nothing was tested" in said


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ({"more.txt": "more"}, 0, "v1.1.0 and this commit have the same schema"),
        (
            {f"{MIGRATIONS}/0002_drop_thing.sql": "-- migrate: contract\ndrop table thing;\n"},
            0,
            "v1.1.0 and this commit have the same schema until it is contracted",
        ),
        (
            {f"{MIGRATIONS}/0001_create_thing.sql": "create table thing (a int, b int);\n"},
            1,
            f"not what they were: {MIGRATIONS}/0001_create_thing.sql",
        ),
        (
            {
                f"{MIGRATIONS}/0002_drop_thing.sql": "-- migrate: contract\ndrop table thing;\n",
                f"{MIGRATIONS}/0003_create_other.sql": "create table other (a int);\n",
            },
            1,
            "0003_create_other.sql expands, and comes after",
        ),
    ],
)
def test_migrations_are_compared_with_the_last_release(
    repository: Path, files: dict[str, str], status: int, words: str
) -> None:
    """What no upgrade could do is refused before any test runs."""
    git(repository, "tag", "v1.1.0")
    write(repository, files)

    found = run(repository, "check_migrations")

    assert found[0] == status
    assert words in found[1]


def test_the_last_release_is_tested_on_the_new_schema(repository: Path) -> None:
    """Its own checkout gets the new migration, and its own tests run there."""
    tests = (
        "from pathlib import Path\n"
        "def test_both_migrations_are_there():\n"
        f"    assert len(list(Path('{MIGRATIONS}').iterdir())) == 2\n"
        "    assert Path('release.txt').read_text() == 'last'\n"
    )
    python = PROJECT / ".venv" / "bin" / "python"
    makefile = (
        ".venv/has-test:\n\tmkdir -p .venv/bin\n"
        f"\tprintf '#!/bin/sh\\nexec {python} \"$$@\"\\n' > .venv/bin/python\n"
        "\tchmod +x .venv/bin/python\n"
    )
    last = {"release.txt": "last", "Makefile": makefile, "tests/test_last.py": tests}
    write(repository, last | {"pytest.ini": "[pytest]\nmarkers = long\n"})
    git(repository, "tag", "v1.1.0")
    new = {f"{MIGRATIONS}/0002_create_other.sql": "create table other (a int);\n"}
    write(repository, new | {"release.txt": "new"})

    status, said = run(repository, "check_migrations")

    assert status == 0, said
    assert "the tests of v1.1.0 run on its schema and" in said
    assert "1 passed" in said
    assert not (repository / ".wrdata" / "last_release").exists()


@pytest.fixture
def host(tmp_path: Path, repository: Path) -> tuple[Path, Run]:
    """A host that is this machine: where its calls of docker are written, and a deployment to it.

    It says that backups run, and fails at the call whose words are in the variable FAILS.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    calls = tmp_path / "calls"
    variables = tmp_path / "compose.env"
    variables.write_text("COMPOSE_PROFILES=production\nWRDATA_VERSION=1.1.0\n")
    (programs / "ssh").write_text(
        "#!/bin/sh\nshift\n"
        f"export WRDATA_VARIABLES={variables}\n"
        f'exec sh -c "$(echo "$*" | sed s#/opt/wrdata#{tmp_path}/opt#g)"\n'
    )
    (programs / "docker").write_text(
        "#!/bin/sh\n"
        f'echo "$WRDATA_VERSION $*" | sed "s#compose --env-file {variables} ##" >> {calls}\n'
        'case "$*" in *"ps --quiet backups"*) echo 0123abcd;; esac\n'
        'case "$*" in *"${FAILS:-nothing}"*) exit 1;; esac\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    compose = repository / "deploy" / "compose"
    compose.mkdir()
    (compose / "compose.yaml").write_text("name: wrdata\n")

    def deploy(step: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [repository / "deploy" / "release" / "deploy", step],
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOST": "root@here",
                "REGISTRY": "ghcr.io/somebody",
                **more,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return tmp_path, deploy


def steps(folder: Path) -> list[str]:
    """Return what Compose was told, each with the version that it ran as."""
    lines = (folder / "calls").read_text().splitlines()
    return [line for line in lines if " pull " not in line and " tag " not in line]


UPGRADED = [
    "1.2.0 run -T --rm --no-deps migrate wrdata migrate",
    (
        "1.2.0 run -T --rm --no-deps code dagster definitions validate "
        "--module-name pipelines.definitions"
    ),
    "1.2.0 up --detach --wait --wait-timeout 600",
]


def test_a_deployment_backs_up_migrates_looks_and_then_starts(host: tuple[Path, Run]) -> None:
    """The backup by the version that runs; the version is noted when it runs."""
    folder, deploy = host

    done = deploy("deploy")

    assert done.returncode == 0, done.stderr
    assert steps(folder) == [
        "1.1.0 ps --quiet backups",
        "1.1.0 exec -T backups wrdata backup run",
        *UPGRADED,
    ]
    pulled = [line for line in (folder / "calls").read_text().splitlines() if " pull " in line]
    assert len(pulled) == 6
    assert "pull --quiet ghcr.io/somebody/wrdata-code:1.2.0" in pulled[0]
    assert "WRDATA_VERSION=1.2.0" in (folder / "compose.env").read_text()
    assert (folder / "opt" / "release" / "deploy" / "compose" / "compose.yaml").is_file()


def test_a_rollback_is_the_same_without_a_backup(host: tuple[Path, Run]) -> None:
    """The version before says that there is nothing to migrate, or that it must not run."""
    folder, deploy = host

    done = deploy("rollback")

    assert done.returncode == 0, done.stderr
    assert steps(folder) == UPGRADED


@pytest.mark.parametrize("fails", ["backup run", "wrdata migrate", "definitions validate"])
def test_a_deployment_that_fails_starts_nothing(host: tuple[Path, Run], fails: str) -> None:
    """The version that runs goes on, and is still the one that is noted."""
    folder, deploy = host

    done = deploy("deploy", FAILS=fails)

    assert done.returncode != 0
    assert not [step for step in steps(folder) if " up " in step]
    assert "WRDATA_VERSION=1.1.0" in (folder / "compose.env").read_text()


def test_a_word_for_the_hosts_shell_is_looked_at(host: tuple[Path, Run]) -> None:
    """A version is no command."""
    folder, deploy = host

    done = deploy("deploy", VERSION="1.2.0; touch /tmp/mine")

    assert done.returncode == 2
    assert "is no version and no registry" in done.stderr
    assert not (folder / "calls").exists()
