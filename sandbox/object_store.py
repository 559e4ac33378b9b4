"""A local S3 server over a folder: ``rclone serve s3``.

Here: its keys, its buckets, how it is launched and recognised. Not here: ports and reuse
(local_world.py), what is kept in it (backed_up.py for backups), or clients (resources/storage).

Put, get, list, multipart uploads and checksums work with boto3; conditional puts do not, and
clients must be told to send checksums only ``when_required``.
"""

import signal
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from machine import private_files, processes
from marketdata.recovery import errors
from sandbox import certificates

BUCKETS = {False: "market-data", True: "market-data-simulated"}
"""The archive's buckets, by whether prices are simulated."""
REGION = "us-east-1"


class ObjectStore:
    """The S3 server of one local world.

    Args:
        home: Folder for the keys and, below ``buckets``, the data.
        log: File that the server's output is appended to.
        buckets: Names of its buckets.
        encrypted: Whether it serves with TLS, by a certificate of its own.
    """

    name = "object_store"
    stop_signal = signal.SIGTERM
    start_within_s = 30.0

    def __init__(
        self,
        *,
        home: Path,
        log: Path,
        buckets: Sequence[str] = tuple(BUCKETS.values()),
        encrypted: bool = False,
    ) -> None:
        self._home = home
        self._log = log
        self._buckets = buckets
        self._encrypted = encrypted

    @property
    def certificate(self) -> Path:
        """The certificate of a server with TLS, which its clients have to trust."""
        return self._home / "certificate.pem"

    @property
    def _key(self) -> Path:
        return self._home / "key.pem"

    def prepare(self, report: Callable[[str], None]) -> None:
        """Create the buckets, which are folders, and the certificate."""
        for bucket in (self._home / "buckets" / name for name in self._buckets):
            if not bucket.exists():
                report(f"Creating the bucket {bucket.name} in {self._home}")
                bucket.mkdir(parents=True)
        if self._encrypted and not self.certificate.exists():
            certificates.create(self.certificate, self._key)

    def launch(self, port: int) -> processes.Process:
        """Start the server on ``port`` without waiting for it.

        Raises:
            ConfigurationError: There is no rclone beside this Python.
        """
        program = Path(sysconfig.get_path("scripts")) / "rclone"
        if not program.exists():
            message = f"there is no {program}: install the project with its sandbox extra"
            raise errors.ConfigurationError(message)
        access_key, secret_key = self.keys()
        encryption = ["--cert", str(self.certificate), "--key", str(self._key)]
        return processes.spawn(
            [
                str(program), "serve", "s3", str(self._home / "buckets"),
                "--addr", f"{processes.LOOPBACK}:{port}", "--config", "",
                "--vfs-cache-mode", "off", *(encryption if self._encrypted else []),
            ],
            log=self._log,
            cwd=self._home,
            # In the environment, not among the arguments, which all users can list.
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._home),
                 "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'},
        )  # fmt: skip

    def answers(self, port: int) -> bool:
        """Return whether the server on ``port`` lists our buckets for our keys."""
        access_key, secret_key = self.keys()
        client = boto3.client(  # pyright: ignore[reportUnknownMemberType] stubs of S3 alone are installed
            "s3",
            endpoint_url=self.address(port),
            region_name=REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            verify=str(self.certificate) if self._encrypted else None,
            config=Config(
                connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1}, proxies={}
            ),
        )
        try:
            client.head_bucket(Bucket=self._buckets[-1])
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return True

    def complete(self, port: int) -> None:
        """Do nothing: the folders are the buckets."""

    def address(self, port: int) -> str:
        """Return the endpoint's URL."""
        return f"http{'s' if self._encrypted else ''}://{processes.LOOPBACK}:{port}"

    def keys(self) -> tuple[str, str]:
        """Return access key and secret key; they have the lengths of real ones (20 and 40)."""
        known = private_files.kept_secrets(
            self._home / "keys.json",
            {
                "access_key": lambda: "AKIA" + private_files.letters_and_digits(16).upper(),
                "secret_key": lambda: private_files.letters_and_digits(40),
            },
        )
        return known["access_key"], known["secret_key"]
