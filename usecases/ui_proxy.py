"""The proxy in front of Dagster's UI: nginx's configuration, made of who may look and who may act.

Here: users, their passwords and roles, the secret of the proxy, and the files that nginx reads. Not
here: nginx itself, the template (deploy/proxy/nginx.conf.template), or the web servers behind it
(pipelines/webserver.py).

All of it lies in one private folder. Users, passwords, secret and a certificate made here stay when
it is written again.
"""

import ctypes
import datetime as dt
import grp
import ipaddress
import os
import pwd
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from machine import private_files
from marketdata.calendars import utc_now
from marketdata.recovery import errors

USER_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
"""Lower case only: nginx compares operators' names without case."""
ADDRESS = re.compile(r"([\w.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")
SERVER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
PASSWORD_LENGTH = 24
CRYPT_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2")
SHA512_CRYPT = "$6$"
WORKERS = ("www-data", "nginx", "nobody")
"""Users of nginx's workers, by preference; one of them exists on every Linux."""
CERTIFICATE_LASTS = dt.timedelta(days=365)
TLS_PORT = "443"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What the proxy is to be.

    Attributes:
        folder: Private folder for all its files.
        server_name: Host name or address by which browsers reach it.
        listen: Address and port for TLS.
        plain: Address and port that sends browsers of plain HTTP to TLS.
        viewers: Address and port of the web server that is read-only.
        operators: Address and port of the web server that acts.
        certificate: Certificate chain (PEM); made and signed by itself if None.
        certificate_key: Its key (PEM).
        roles: Names of users, and whether they are operators.
    """

    folder: Path
    server_name: str
    listen: str
    plain: str
    viewers: str
    operators: str
    certificate: Path | None
    certificate_key: Path | None
    roles: Mapping[str, bool]

    @property
    def origin(self) -> str:
        """The address that browsers show."""
        port = self.listen.rpartition(":")[2]
        return f"https://{self.server_name}" + ("" if port == TLS_PORT else f":{port}")

    @property
    def configuration(self) -> Path:
        """The file to start nginx with."""
        return self.folder / "nginx.conf"

    @property
    def environment(self) -> Path:
        """The file of variables for the web servers behind the proxy."""
        return self.folder / "webserver.env"


def write(proxy: Proxy, template: str, *, renew: Collection[str] = ()) -> dict[str, str]:
    """Write nginx's files, and return the passwords of users that are new or in ``renew``.

    Passwords are kept nowhere: only their hashes are.

    Raises:
        ConfigurationError: A name or address is wrong, a certificate's file is missing, or the
            folder cannot be written.
    """
    _check(proxy, renew)
    try:
        return _write(proxy, template, renew)
    except OSError as error:
        message = f"{proxy.folder} cannot be written ({error.strerror}): name another folder"
        raise errors.ConfigurationError(message) from error


def _check(proxy: Proxy, renew: Collection[str]) -> None:
    for fault in (*_wrong_names(proxy, renew), *_wrong_addresses(proxy), *_wrong_files(proxy)):
        raise errors.ConfigurationError(fault)


def _wrong_names(proxy: Proxy, renew: Collection[str]) -> Iterator[str]:
    for name in proxy.roles:
        if not USER_NAME.fullmatch(name):
            yield f"{name!r} is no user's name: lower-case letters, digits and . _ @ -, at most 64"
    for name in sorted(set(renew) - proxy.roles.keys()):
        yield f"there is no user {name}: name him as operator or viewer as well"


def _wrong_addresses(proxy: Proxy) -> Iterator[str]:
    if not SERVER_NAME.fullmatch(proxy.server_name):
        yield f"{proxy.server_name!r} is no host: give its name, such as ui.example.com"
    for address in (proxy.listen, proxy.plain, proxy.viewers, proxy.operators):
        if not ADDRESS.fullmatch(address):
            yield f"{address!r} is no address: give host and port, such as 127.0.0.1:8443"


def _wrong_files(proxy: Proxy) -> Iterator[str]:
    if re.search(r"[\s;{}\"'$\\]", str(proxy.folder.absolute())):
        yield f"nginx cannot read {proxy.folder}: name a folder without blanks and quotes"
    if (proxy.certificate is None) != (proxy.certificate_key is None):
        yield "a certificate needs its key, and a key its certificate: give both, or neither"
    for file in (proxy.certificate, proxy.certificate_key):
        if file is not None and (not file.is_file() or re.search(r"[\s;{}\"'$\\]", str(file))):
            yield f"there is no file {file}: give the path of a certificate or key (PEM)"


def _write(proxy: Proxy, template: str, renew: Collection[str]) -> dict[str, str]:
    folder = proxy.folder.absolute()
    private_files.make_passable(folder)
    for name in ("logs", "temporary"):
        private_files.make_passable(folder / name)
    secret = private_files.kept_secrets(folder / "secret.json", {"secret": _secret})["secret"]
    accounts, passwords = _accounts(folder, proxy.roles, renew)
    private_files.write_json(folder / "accounts.json", accounts)
    certificate, key = proxy.certificate, proxy.certificate_key
    if certificate is None or key is None:
        certificate, key = _own_certificate(folder, proxy.server_name)
    names = [name for name, operates in proxy.roles.items() if operates]
    filled = {
        "USER": _user_directive(),
        "FOLDER": str(folder),
        "LISTEN": proxy.listen,
        "PLAIN": proxy.plain,
        "SERVER_NAME": proxy.server_name,
        "ORIGIN": proxy.origin,
        "VIEWERS": proxy.viewers,
        "OPERATORS": proxy.operators,
        "OPERATOR_NAMES": "\n".join(f'        "{name}" operators;' for name in sorted(names)),
        "CERTIFICATE": str(certificate.absolute()),
        "CERTIFICATE_KEY": str(key.absolute()),
        "SECRET": secret,
    }
    _private(proxy.configuration, re.sub(r"@([A-Z_]+)@", lambda found: filled[found[1]], template))
    _private(folder / "cookies", _cookies(accounts))
    _private(proxy.environment, f"WRDATA_PROXY_SECRET={secret}\n")
    lines = "".join(f"{name}:{entry['hash']}\n" for name, entry in sorted(accounts.items()))
    _private(folder / "users", lines, for_workers=True)
    return passwords


def _accounts(
    folder: Path, names: Collection[str], renew: Collection[str]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return hash and cookie of each user, and the passwords of those that are made now."""
    known = private_files.read_json(folder / "accounts.json")
    passwords = {
        name: private_files.letters_and_digits(PASSWORD_LENGTH)
        for name in names
        if name not in known or name in renew
    }
    made = {
        name: {"hash": hashed(password), "cookie": secrets.token_hex(16)}
        for name, password in passwords.items()
    }
    kept = {name: cast("dict[str, str]", known[name]) for name in names if name not in made}
    return kept | made, passwords


def hashed(password: str) -> str:
    """Return the hash of a password as crypt(3) writes it: SHA-512-crypt with 5,000 rounds.

    Raises:
        ConfigurationError: The system has no libcrypt.
    """
    salt = SHA512_CRYPT + private_files.letters_and_digits(16)
    for library in CRYPT_LIBRARIES:
        try:
            crypt = ctypes.CDLL(library).crypt
        except OSError:
            continue
        crypt.restype = ctypes.c_char_p
        done: bytes | None = crypt(password.encode(), salt.encode())
        if done and done.startswith(SHA512_CRYPT.encode()):
            return done.decode()
    message = f"passwords cannot be hashed: install {' or '.join(CRYPT_LIBRARIES)}"
    raise errors.ConfigurationError(message)


def _secret() -> str:
    return private_files.letters_and_digits(40)


def _cookies(accounts: Mapping[str, Mapping[str, str]]) -> str:
    """Return the maps from a user to his cookie, and from a cookie that is his to no limit."""
    rest = "Path=/; Secure; HttpOnly; SameSite=Strict"
    given = [
        f'    "{name}" "wrdata_login={entry["cookie"]}; {rest}";'
        for name, entry in sorted(accounts.items())
    ]
    shown = [f'    "{name}:{entry["cookie"]}" "";' for name, entry in sorted(accounts.items())]
    return "\n".join(
        [
            "map $remote_user $login_cookie {", '    default "";', *given, "}",
            'map "$remote_user:$cookie_wrdata_login" $not_logged_in_before {',
            "    default $binary_remote_addr;", *shown, "}", "",
        ]
    )  # fmt: skip


def _user_directive() -> str:
    worker = _worker()
    if worker is None:
        return "# nginx runs as the user who starts it."
    return f"user {worker.pw_name} {grp.getgrgid(worker.pw_gid).gr_name};"


def _worker() -> pwd.struct_passwd | None:
    """Return the user of nginx's workers, or None if nginx cannot change its user."""
    if os.geteuid() != 0:
        return None
    for name in WORKERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    message = f"nginx's workers need a user of their own: make {WORKERS[0]}"
    raise errors.ConfigurationError(message)


def _private(path: Path, text: str, *, for_workers: bool = False) -> None:
    """Replace a file in one step; only its owner may read it, or nginx's workers."""
    beside = path.with_name(f".{path.name}.part")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    if for_workers and (worker := _worker()):
        os.chown(beside, worker.pw_uid, worker.pw_gid)
    beside.replace(path)


def _own_certificate(folder: Path, server_name: str) -> tuple[Path, Path]:
    """Return a certificate that is signed by itself, and its key; made anew near its end."""
    certificate, key = folder / "certificate.pem", folder / "certificate.key"
    if not _serves(certificate, server_name) or not key.exists():
        private_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, server_name[:64])])
        now = utc_now()
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + CERTIFICATE_LASTS)
            .add_extension(x509.SubjectAlternativeName([_general(server_name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(private_key, hashes.SHA256())
        )
        pem = private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _private(key, pem.decode())
        _private(certificate, made.public_bytes(serialization.Encoding.PEM).decode())
    return certificate, key


def _serves(certificate: Path, server_name: str) -> bool:
    """Return whether a certificate made here is for this name, and good for another month."""
    if not certificate.exists():
        return False
    known = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasts = known.not_valid_after_utc - utc_now() > dt.timedelta(days=30)
    return lasts and _general(server_name) in list(names)


def _general(server_name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(server_name))
    except ValueError:
        return x509.DNSName(server_name)
