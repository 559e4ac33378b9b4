"""Serving a simulator on loopback: as a process, or in a thread of a test.

Here: uvicorn's settings and the life of its thread. Not here: what is served.
"""

import contextlib
import socket
import threading
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from machine.processes import LOOPBACK, wait_until
from marketdata.recovery import errors

_START_WITHIN_S = 20.0


def run(application: ASGIApp, port: int) -> None:
    """Serve ``application`` on ``port`` until the process is told to end."""
    uvicorn.Server(_settings(application, port)).run()


@contextlib.contextmanager
def serve(application: ASGIApp) -> Generator[str]:
    """Serve ``application`` on a free port in a thread and yield its origin (``http://…``).

    Raises:
        ConfigurationError: The server did not start.
    """
    server = uvicorn.Server(_settings(application, 0))
    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            if not wait_until(lambda: server.started, within_s=_START_WITHIN_S):
                message = f"the simulator did not start within {_START_WITHIN_S:g} s"
                raise errors.ConfigurationError(message)
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            # Requests that never get an answer must not delay the end.
            server.should_exit = server.force_exit = True
            thread.join(_START_WITHIN_S)


def _settings(application: ASGIApp, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=LOOPBACK,
        port=port,
        http="h11",
        lifespan="off",
        access_log=False,
        # The simulated providers date their answers themselves.
        date_header=False,
        # A connection dropped on purpose is reported as the application's error.
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
