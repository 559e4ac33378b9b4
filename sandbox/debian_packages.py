"""Packages of Debian 13, unpacked beside the system: a prefix of their own for each program.

Here: packages that the machine's own apt downloads with a state folder of its own, unpacked into a
private prefix, with their libraries. Not here: which packages (timescaledb_programs.py,
pgbackrest_programs.py), or running them.

Why Debian 13 on an older system: what is built for it needs glibc 2.38 or later, so a prefix
brings its own C library, and patchelf points the programs at it. The archive's address is the one
this machine's apt already uses, with the suite replaced; apt checks signatures as it always does.
"""

import contextlib
import fnmatch
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import private_files
from marketdata.recovery import errors
from sandbox import apt_sources

SUITE = "trixie"
_SCRATCH = ".unpack-"

_NEEDLESS = (
    "*perl*", "libllvm*", "libz3*", "locales", "libc-l10n", "libc-bin", "adduser", "passwd",
    "login.defs", "debconf", "procps", "libproc2*", "postgresql-common*",
    "postgresql-client-common", "openssl*", "ssl-cert", "sysvinit-utils", "base-passwd", "tzdata",
    "libpam-modules*", "libpam-runtime", "libdb5*", "libgdbm*", "libsemanage*", "libsepol*",
    "libselinux*", "libpcre2*", "libdebconf*", "libncursesw*", "libxslt*", "sensible-utils",
)  # fmt: skip
"""Unneeded packages: maintainer scripts, JIT, cluster wrappers."""

_NEEDLESS_FOLDERS = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/postgresql/17/lib/bitcode",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """One package with all that it needs, in a folder of its own.

    Attributes:
        package: Name of the package.
        revision: Counts changes in building the prefix; a new number is a new prefix.
        programs: Folder of its programs, below the prefix.
        tried: Files whose libraries must all be found within the prefix, as patterns below
            ``programs``.
        size: How much is fetched, in words.
        instead: What a person may do where it cannot be fetched.
    """

    package: str
    revision: int
    programs: str
    tried: Sequence[str]
    size: str
    instead: str

    @property
    def folder(self) -> Path:
        """Where the prefix stands."""
        return cache_folder() / f"{self.package}-{SUITE}-{platform.machine()}-{self.revision}"

    @property
    def program_folder(self) -> Path:
        """Where its programs stand."""
        return self.folder / self.programs


def install(prefix: Prefix, report: Callable[[str], None]) -> Path:
    """Return the folder of the prefix's programs; fetch and unpack it unless it is there.

    Raises:
        ConfigurationError: apt cannot fetch it.
    """
    with _shared_lock(cache_folder()):
        if not (prefix.folder / "complete").exists():
            report(f"Fetching {prefix.package} into {prefix.folder} ({prefix.size}, once)")
            for abandoned in (prefix.folder, *cache_folder().glob(f"{_SCRATCH}*")):
                shutil.rmtree(abandoned, ignore_errors=True)
            _install(prefix)
    return prefix.program_folder


def cache_folder() -> Path:
    """Return the folder of prefixes for all checkouts of this user (or of the machine)."""
    if os.geteuid() == 0:
        return Path("/var/cache/wrdata")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wrdata"


@contextlib.contextmanager
def _shared_lock(cache: Path) -> Generator[None]:
    try:
        private_files.make_passable(cache)
    except OSError as error:
        message = f"cannot create {cache} ({error.strerror}): make it writable"
        raise errors.ConfigurationError(message) from error
    with private_files.locked(cache / "install.lock"):
        yield


def _install(prefix: Prefix) -> None:
    """Build ``prefix`` beside its place, move it there, test it, then mark it complete."""
    cache = prefix.folder.parent
    with tempfile.TemporaryDirectory(dir=cache, prefix=_SCRATCH) as scratch_name:
        scratch = Path(scratch_name)
        scratch.chmod(0o755)
        packages = _download(prefix, scratch)
        unpacked = scratch / "prefix"
        for package in packages:
            _run(prefix, ["dpkg-deb", "-x", str(package), str(unpacked)], doing="unpack packages")
        for needless in _NEEDLESS_FOLDERS:
            shutil.rmtree(unpacked / needless, ignore_errors=True)
        _point_at_own_libraries(prefix, unpacked)
        unpacked.chmod(0o755)
        unpacked.rename(prefix.folder)
        names = "\n".join(sorted(package.name for package in packages))
    _try_out(prefix)
    (prefix.folder / "complete").write_text(names + "\n")


def _download(prefix: Prefix, scratch: Path) -> list[Path]:
    """Let apt resolve and fetch the packages into ``scratch``, signatures checked."""
    options = _apt_options(scratch)
    _run(prefix, ["apt-get", *options, "update"], doing=f"read the package lists of {SUITE}")
    planned = _run(
        prefix,
        ["apt-get", *options, "install", "--yes", "--print-uris", prefix.package],
        doing=f"resolve what {prefix.package} needs",
    )
    names = {match[1] for match in re.finditer(r"^'[^']*' ([^_\s]+)_", planned, re.MULTILINE)}
    wanted = sorted(
        name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in _NEEDLESS)
    )
    folder = scratch / "packages"
    folder.mkdir()
    _run(prefix, ["apt-get", *options, "download", *wanted], doing="download packages", cwd=folder)
    return sorted(folder.glob("*.deb"))


def _apt_options(scratch: Path) -> list[str]:
    """Return options that give apt its own state and one source, nothing of the system's.

    Options go on the command line, which overrides every configuration file.
    """
    state, cache, sources = scratch / "state", scratch / "cache", scratch / "sources"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial", sources):
        folder.mkdir(parents=True)
    (state / "status").touch()
    (sources / "debian.sources").write_text(apt_sources.source_of(SUITE))
    settings = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": cache,
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": sources,
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "false",
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::Retries": "3",
        "quiet": "2",
    }
    # apt's download user cannot write in a private folder; signatures are still checked.
    if os.geteuid() == 0:
        settings["APT::Sandbox::User"] = "root"
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def _point_at_own_libraries(prefix: Prefix, unpacked: Path) -> None:
    """Set interpreter and library path of the programs to where the prefix will stand.

    DT_RPATH (--force-rpath), unlike DT_RUNPATH, also holds for what libraries and extensions
    load in turn.
    """
    loader = next(unpacked.glob("usr/lib/*/ld-linux*.so.*"))
    libraries = prefix.folder / loader.parent.relative_to(unpacked)
    patchelf = str(Path(sysconfig.get_path("scripts")) / "patchelf")
    programs = [path for path in (unpacked / prefix.programs).iterdir() if _is_elf(path)]
    _run(
        prefix,
        [
            patchelf, "--force-rpath", "--set-rpath", str(libraries),
            "--set-interpreter", str(libraries / loader.name), *map(str, programs),
        ],
        doing="patch the programs",
    )  # fmt: skip


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _try_out(prefix: Prefix) -> None:
    """Check that programs and extensions find every library within the prefix.

    Raises:
        ConfigurationError: A library is missing; the text names it.
    """
    folder = prefix.program_folder
    loader = next(prefix.folder.glob("usr/lib/*/ld-linux*.so.*"))
    for file in sorted(file for pattern in prefix.tried for file in folder.glob(pattern)):
        listed = _run(
            prefix,
            [str(loader), "--library-path", str(loader.parent), "--list", str(file)],
            doing=f"load {file.name}",
        )
        # Libraries outside the prefix are the system's, which may be too old.
        strays = re.findall(rf"=> (?!{re.escape(str(prefix.folder))})(\S+.*)", listed)
        if strays:
            message = f"{file.name} misses libraries in {prefix.folder}: {', '.join(strays)}"
            raise errors.ConfigurationError(message)


def _run(prefix: Prefix, command: Sequence[str], *, doing: str, cwd: Path | None = None) -> str:
    """Run ``command`` and return what it prints.

    Raises:
        ConfigurationError: The program is missing or failed; the text says what to do.
    """
    cure = (
        "Needed are apt-get and dpkg-deb with a reachable Debian archive and the sandbox extra; "
        f"or {prefix.instead}"
    )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=cwd, timeout=540,
            stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError as error:
        message = f"cannot {doing}: there is no program {command[0]}. {cure}"
        raise errors.ConfigurationError(message) from error
    except subprocess.TimeoutExpired as error:
        message = f"cannot {doing}: {command[0]} took more than 9 minutes. {cure}"
        raise errors.ConfigurationError(message) from error
    except subprocess.CalledProcessError as error:
        said = "\n".join((error.stderr or error.stdout or "").splitlines()[-8:])
        message = f"cannot {doing}: {command[0]} said:\n{said}\n{cure}"
        raise errors.ConfigurationError(message) from error
    return done.stdout
