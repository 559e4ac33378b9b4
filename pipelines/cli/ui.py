"""wrdata ui proxy, serve: Dagster's UI for several people, behind nginx.

Here: writing nginx's files, and running one of the web servers behind it. Not here: what the files
hold (usecases/ui_proxy.py), what a web server does (pipelines/webserver.py), or the UI of the local
world (`wrdata up`), which has no login and listens on this machine alone.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from machine import processes
from marketdata.recovery import errors
from pipelines.cli import console, dagster_instance, dagster_processes, environment
from pipelines.cli.environment import PROJECT
from pipelines.users import PROXY_VARIABLE
from resources import opening
from resources.settings import read_settings
from resources.storage.audit import AuditLog
from usecases import ui_proxy
from usecases.auditing import audit_operation
from usecases.operations import Operation
from usecases.ui_proxy import Proxy

TEMPLATE = PROJECT / "deploy" / "proxy" / "nginx.conf.template"
ENDS_WITHIN_S = 5
"""Time that open pages have when a web server ends: a live page never closes its connection."""
STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_OVERFLOW = 15_000, 3_600, 20
"""How Dagster's own command sets up its storage for a web server (dagster-webserver --help)."""


def proxy(
    directory: Annotated[Path, typer.Option(help="Private folder for nginx's files.")],
    operator: Annotated[
        list[str] | None, typer.Option(help="User who may act; may be repeated.")
    ] = None,
    viewer: Annotated[
        list[str] | None, typer.Option(help="User who may look; may be repeated.")
    ] = None,
    new_password: Annotated[
        list[str] | None, typer.Option(help="User who gets another password; may be repeated.")
    ] = None,
    server_name: Annotated[
        str, typer.Option(help="Host by which browsers reach the proxy.")
    ] = processes.LOOPBACK,
    listen: Annotated[
        str, typer.Option(help="Address and port for TLS.")
    ] = f"{processes.LOOPBACK}:8443",
    plain: Annotated[
        str, typer.Option(help="Address and port that leads plain HTTP to TLS.")
    ] = f"{processes.LOOPBACK}:8080",
    viewers_at: Annotated[
        str, typer.Option(help="Web server that is read-only.")
    ] = f"{processes.LOOPBACK}:3001",
    operators_at: Annotated[
        str, typer.Option(help="Web server that acts.")
    ] = f"{processes.LOOPBACK}:3002",
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate chain (PEM); without it one is made.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="The certificate's key.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Write nginx's configuration for the UI; print the passwords of new users, once."""
    operators, viewers = operator or [], viewer or []
    both = sorted(set(operators) & set(viewers))
    if both:
        message = f"{', '.join(both)} cannot be operator and viewer: an operator sees everything"
        raise errors.ArgumentError(message)
    if not operators and not viewers:
        raise errors.ArgumentError("nobody may log in: name an --operator or a --viewer")
    try:
        template = TEMPLATE.read_text()
    except OSError as error:
        message = f"there is no {TEMPLATE}: run this in a checkout of the project"
        raise errors.ConfigurationError(message) from error
    wanted = Proxy(
        folder=directory,
        server_name=server_name,
        listen=listen,
        plain=plain,
        viewers=viewers_at,
        operators=operators_at,
        certificate=certificate,
        certificate_key=certificate_key,
        roles=dict.fromkeys(viewers, False) | dict.fromkeys(operators, True),
    )
    passwords = ui_proxy.write(wanted, template, renew=new_password or ())
    if certificate is None:
        console.warn("the certificate is signed by itself: browsers warn of it, until you name one")
    if json:
        console.print_json(
            {
                "address": wanted.origin,
                "configuration": str(wanted.configuration),
                "environment": str(wanted.environment),
                "passwords": passwords,
            }
        )
        return
    for name, password in passwords.items():
        console.out.print(f"{name} {password}", markup=False)
    console.say(f"nginx -e stderr -c {wanted.configuration.absolute()} serves {wanted.origin}")


def serve(
    read_only: Annotated[bool, typer.Option("--read-only", help="Show; refuse to act.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = processes.LOOPBACK,
    port: Annotated[
        int | None, typer.Option(help="Port; 3001 if read-only, otherwise 3002.", min=1, max=65535)
    ] = None,
    workspace: Annotated[Path, typer.Option(help="File that says where the code is.")] = PROJECT
    / "workspace.yaml",
    operations: Annotated[
        Path | None, typer.Option(help="File to which operations are added.")
    ] = None,
) -> None:
    """Run one of Dagster's web servers behind the proxy, until Ctrl-C or SIGTERM."""
    if not os.environ.get(PROXY_VARIABLE):
        message = f"{PROXY_VARIABLE} is not set: `wrdata ui proxy` writes it to webserver.env"
        raise errors.ConfigurationError(message)
    chosen = port or (3001 if read_only else 3002)
    if not workspace.is_file():
        raise errors.ConfigurationError(f"there is no {workspace}: name a workspace.yaml")
    environment.enter(environment.surroundings(writes=False), start=False)
    log = operations or Path(os.environ["DAGSTER_HOME"]) / "operations.jsonl"

    import uvicorn

    from pipelines import webserver
    from pipelines.dagster_internals import WorkspaceFileTarget

    kept = webserver.OperationLog(log)
    with (
        opening.database(read_settings(), pool_size=1) as timescale,
        # uvicorn raises the signal again once it has ended its work.
        dagster_processes.signals_handled(_interrupt),
        suppress(KeyboardInterrupt),
        dagster_instance.opened() as instance,
    ):
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_OVERFLOW)
        with webserver.ProcessContext(
            instance,
            WorkspaceFileTarget([str(workspace)]),
            version=version("dagster-webserver"),
            read_only=read_only,
        ) as context:
            console.say(f"serving {'viewers' if read_only else 'operators'} at {host}:{chosen}")
            uvicorn.run(
                webserver.application(context, _noted_by(kept.note, AuditLog(timescale))),  # pyright: ignore[reportArgumentType] uvicorn wants its own names for the same
                host=host,
                port=chosen,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=ENDS_WITHIN_S,
            )


def _noted_by(keep: Callable[[Operation], None], audit: AuditLog) -> Callable[[Operation], None]:
    """Return what notes an operation in the file, and in the audit log if that can be had."""

    def note(operation: Operation) -> None:
        keep(operation)
        try:
            audit_operation(audit, operation)
        except errors.MarketDataError as error:
            console.warn(f"{operation.what} is not in the audit log, only in the file: {error}")

    return note


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
