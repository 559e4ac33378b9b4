"""A database server that is backed up, for tests and for trying out: server and repository.

Here: an embedded server that archives, an S3 server over TLS for its backups, and the configuration
by which both and pgBackRest work, filled in from deploy/backup/. Not here: taking backups
(resources/backups/), or the local world, which needs none (local_world.py).
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template

from machine import private_files, processes
from marketdata.recovery import errors
from sandbox import object_store, pgbackrest_programs, timescaledb, timescaledb_programs

TEMPLATES = Path(__file__).resolve().parents[1] / "deploy" / "backup"
BUCKET = "backups"


class BackedUpWorld:
    """One database server with its backups, below ``root``, which any user must be able to reach.

    The servers outlive this process unless ``stop`` is called. ``archive_timeout_s`` is how long a
    commit waits for its archiving.

    Attributes:
        config: Folder of pgBackRest's configuration (WRDATA_BACKUP_CONFIG).
        database: The database server.
        store: The S3 server of the repository.
    """

    def __init__(self, root: Path, *, archive_timeout_s: int = 60) -> None:
        self._root = root.absolute()
        private_files.make_passable(self._root)
        self.config = self._root / "pgbackrest"
        self.store = object_store.ObjectStore(
            home=self._root / "backups",
            log=self._root / "logs" / "backups.log",
            buckets=(BUCKET,),
            encrypted=True,
        )
        self._programs = pgbackrest_programs.install(lambda _: None)
        self.database = timescaledb.TimescaleServer(
            home=self._root / "timescaledb",
            log=self._root / "logs" / "timescaledb.log",
            archive_command=(
                f"{self._programs / 'pgbackrest'} --config-path={self.config} --stanza=wrdata"
                " archive-push %p"
            ),
            archive_timeout_s=archive_timeout_s,
        )
        self._ports: dict[str, int] = {}
        self._running: dict[str, processes.Process] = {}

    @property
    def path(self) -> str:
        """A PATH on which pgBackRest and the server's programs are found."""
        servers = timescaledb_programs.find_or_install(lambda _: None).folder
        return os.pathsep.join([str(self._programs), str(servers), os.environ.get("PATH", "")])

    def start(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Start both servers and write the configuration.

        Raises:
            ConfigurationError: A server does not start; the text names its log.
        """
        self._start(self.store, report)
        # The server's archiver reads the configuration from its first segment on.
        self.database.prepare(report)
        self._ports[self.database.name] = processes.free_port(None)
        self._configure()
        self._start(self.database, report)
        self.database.complete(self._ports[self.database.name])

    def start_database(self) -> None:
        """Start the database server again on its port."""
        self._start(self.database, lambda _: None)

    def stop_database(self) -> None:
        """Stop the database server as an administrator does."""
        self._stop(self.database)

    def start_store(self) -> None:
        """Start the repository's server again on its port."""
        self._start(self.store, lambda _: None)

    def stop_store(self) -> None:
        """Stop the repository's server: it cannot be reached."""
        self._stop(self.store)

    def stop(self) -> None:
        """Stop both; the database server first, since its last WAL goes to the other."""
        self._stop(self.database)
        self._stop(self.store)

    def url(self, database: str, role: str = timescaledb.ROLE) -> str:
        """Return the URL of a database, for the role of our programs or another."""
        return self.database.url(self._ports[self.database.name], database, role)

    @property
    def store_address(self) -> str:
        """The endpoint of the repository's server."""
        return self.store.address(self._ports[self.store.name])

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which commands find configuration and programs."""
        return {"WRDATA_BACKUP_CONFIG": str(self.config), "PATH": self.path}

    def give_away(self, path: Path) -> None:
        """Make the database server's user the owner of ``path``."""
        if self.database.user is not None:
            os.chown(path, self.database.user, self.database.user)

    def _start(
        self,
        server: timescaledb.TimescaleServer | object_store.ObjectStore,
        report: Callable[[str], None],
    ) -> None:
        server.prepare(report)
        port = self._ports.setdefault(server.name, processes.free_port(None))
        with processes.undisturbed():
            self._running[server.name] = server.launch(port)
        if not processes.wait_until(
            lambda: server.answers(port), within_s=server.start_within_s, every_s=0.2
        ):
            message = f"{server.name} does not start; see {self._root / 'logs'}"
            raise errors.ConfigurationError(message)

    def _stop(self, server: timescaledb.TimescaleServer | object_store.ObjectStore) -> None:
        process = self._running.pop(server.name, None)
        if process is not None:
            processes.end(process, with_signal=server.stop_signal, within_s=60)

    def _configure(self) -> None:
        """Fill in the templates as an administrator would."""
        access_key, secret_key = self.store.keys()
        state = self._root / "pgbackrest_state"
        certificate = self.config / "store.pem"
        values = {
            "BACKUP_BUCKET": BUCKET,
            "BACKUP_HOST": processes.LOOPBACK,
            "BACKUP_PORT": str(self._ports[self.store.name]),
            "BACKUP_REGION": object_store.REGION,
            "BACKUP_CA_FILE": str(certificate),
            "BACKUP_STATE": str(state),
            "BACKUP_ACCESS_KEY": access_key,
            "BACKUP_SECRET_KEY": secret_key,
            "BACKUP_PASSPHRASE": private_files.kept_secrets(
                self._root / "passphrase.json",
                {"passphrase": lambda: private_files.letters_and_digits(48)},
            )["passphrase"],
            "PG_DATA": str(self.database.data),
            "PG_SOCKETS": str(self.database.sockets),
            "PG_PORT": str(self._ports[self.database.name]),
        }
        for folder in (self.config, self.config / "conf.d", state):
            folder.mkdir(mode=0o700, exist_ok=True)
            self.give_away(folder)
        for name, place in (("pgbackrest.conf", ""), ("secrets.conf", "conf.d")):
            file = self.config / place / name
            file.touch(mode=0o600)
            file.write_text(Template((TEMPLATES / name).read_text()).substitute(values))
            self.give_away(file)
        shutil.copyfile(self.store.certificate, certificate)
        self.give_away(certificate)
