"""`wrdata ui`: what is written for nginx, what stays, and what is refused in one line."""

import ctypes
import json
import os
import re
from pathlib import Path

import pytest
from cryptography import x509

from tests.fixtures.forked_commands import run_command
from usecases.ui_proxy import hashed

pytestmark = pytest.mark.servers

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


def proxy(folder: Path, *words: str) -> dict[str, str]:
    """Write nginx's files; return the passwords that were made."""
    done = run_command(
        ("ui", "proxy", "--directory", str(folder), "--json", *words), ENVIRONMENT, within_s=120
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["passwords"])


def test_passwords_and_secret_stay_when_it_is_written_again(tmp_path: Path) -> None:
    """Until somebody is left out, or is to have another one."""
    first = proxy(tmp_path, "--operator", "alice", "--viewer", "bob")
    users = (tmp_path / "users").read_text().splitlines()
    secret = (tmp_path / "webserver.env").read_text()
    certificate = (tmp_path / "certificate.pem").read_text()
    assert set(first) == {"alice", "bob"}
    assert [line.partition(":")[0] for line in users] == ["alice", "bob"]

    again = ("--operator", "alice", "--viewer", "bob", "--viewer", "carol")
    assert set(proxy(tmp_path, *again)) == {"carol"}
    assert (tmp_path / "users").read_text().splitlines()[:2] == users
    assert (tmp_path / "webserver.env").read_text() == secret
    assert (tmp_path / "certificate.pem").read_text() == certificate

    assert set(proxy(tmp_path, "--operator", "alice", "--new-password", "alice")) == {"alice"}
    (left,) = (tmp_path / "users").read_text().splitlines()
    assert left.startswith("alice:$6$")
    assert left != users[0]
    assert "bob" not in (tmp_path / "cookies").read_text()


def test_only_named_operators_reach_the_web_server_that_acts(tmp_path: Path) -> None:
    """Everybody else goes to the one that is read-only."""
    proxy(tmp_path, "--operator", "alice", "--viewer", "bob")
    text = (tmp_path / "nginx.conf").read_text()
    chosen = text[text.index("map $remote_user $webserver") :].partition("}")[0]
    assert chosen.split("\n")[1:-1] == ["        default viewers;", '        "alice" operators;']
    assert not re.search("@[A-Z_]+@", text)


def test_a_certificate_made_here_is_for_the_host_it_serves(tmp_path: Path) -> None:
    """Another host gets another one; a host's own is not touched."""
    proxy(tmp_path, "--operator", "alice", "--server-name", "ui.example.com")
    pem = (tmp_path / "certificate.pem").read_bytes()
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["ui.example.com"]
    proxy(tmp_path, "--operator", "alice", "--server-name", "other.example.com")
    assert (tmp_path / "certificate.pem").read_bytes() != pem

    own = ("--certificate", str(tmp_path / "certificate.pem"))
    key = ("--certificate-key", str(tmp_path / "certificate.key"))
    proxy(tmp_path / "other", "--operator", "alice", *own, *key)
    assert not (tmp_path / "other" / "certificate.pem").exists()


def test_a_hash_is_what_the_system_makes_of_the_password() -> None:
    """With a salt of its own each time."""
    password = "a password"
    made = hashed(password)
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    assert crypt(password.encode(), made.encode()).decode() == made
    assert hashed(password) != made
    assert crypt(b"another", made.encode()).decode() != made


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "nobody may log in"),
        (("--operator", "alice", "--viewer", "alice"), 2, "alice cannot be operator and viewer"),
        (("--operator", "Alice"), 1, "'Alice' is no user's name"),
        (("--operator", "a:b"), 1, "'a:b' is no user's name"),
        (("--operator", "a", "--new-password", "b"), 1, "there is no user b"),
        (("--operator", "a", "--listen", "8443"), 1, "'8443' is no address"),
        (("--operator", "a", "--viewers-at", "x:1;"), 1, "'x:1;' is no address"),
        (("--operator", "a", "--server-name", "a b"), 1, "'a b' is no host"),
        (("--operator", "a", "--certificate", "/nowhere"), 1, "a certificate needs its key"),
        (
            ("--operator", "a", "--certificate", "/nowhere", "--certificate-key", "/nowhere"),
            1,
            "there is no file /nowhere",
        ),
    ],
)
def test_what_nginx_could_not_read_is_refused_in_one_line(
    tmp_path: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    """And nothing is written."""
    folder = tmp_path / "proxy"
    done = run_command(
        ("ui", "proxy", "--directory", str(folder), *words), ENVIRONMENT, within_s=120
    )
    assert done.returncode == status
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands in its place."""
    folder = tmp_path / "file"
    folder.write_text("")
    words = ("ui", "proxy", "--directory", str(folder), "--operator", "alice")
    done = run_command(words, ENVIRONMENT, within_s=120)
    assert done.returncode == 1
    assert f"{folder} cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("secret", [None, ""])
def test_a_web_server_without_the_proxy_s_secret_does_not_start(secret: str | None) -> None:
    """It would answer anybody."""
    variables = {} if secret is None else {"WRDATA_PROXY_SECRET": secret}
    done = run_command(("ui", "serve"), {**ENVIRONMENT, **variables}, within_s=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: WRDATA_PROXY_SECRET is not set")


def test_a_workspace_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before anything is started."""
    variables = {**ENVIRONMENT, "WRDATA_PROXY_SECRET": "shared"}
    words = ("ui", "serve", "--workspace", str(tmp_path / "nowhere.yaml"))
    done = run_command(words, variables, within_s=120)
    assert (done.returncode, os.linesep in done.stderr[:-1]) == (1, False)
    assert "nowhere.yaml: name a workspace.yaml" in done.stderr
