"""A front before an S3 server, which fails on demand: busy, broken, or with a full disk.

Here: one ASGI application that passes requests on byte for byte, or refuses them as a server in
trouble does. Not here: the server behind it (sandbox/object_store.py).

Signatures stay valid: they cover the Host header, which the front passes on unchanged.
"""

import http.client
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox.simulators.faults import Draws

_TIMEOUT_S = 60.0
_PER_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A trouble of the server, with S3's code for it."""

    status: int
    code: str


INTERNAL_ERROR = Trouble(status=500, code="InternalError")
SLOW_DOWN = Trouble(status=503, code="SlowDown")
DISK_FULL = Trouble(status=507, code="XMinioStorageFull")
"""MinIO's answer to a put on a full disk; AWS has no such answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Fault:
    """Refuse a share of the requests with ``methods`` for keys that begin with ``prefix``.

    Attributes:
        troubles: One of them is drawn for each refusal.
    """

    troubles: tuple[Trouble, ...]
    share: float = 1.0
    methods: frozenset[str] = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
    prefix: str = ""


class ObjectStoreFront:
    """ASGI application before the S3 server at ``origin`` (``http://host:port``).

    Attributes:
        fault: In force from the moment it is set; None lets everything pass.
        refused: Requests refused so far, by method and status.
    """

    def __init__(self, origin: str, *, seed: int) -> None:
        self.fault: S3Fault | None = None
        self.refused: Counter[tuple[str, int]] = Counter()
        self._host = urlsplit(origin).netloc
        self._draws = Draws(seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        # Always read: a client refused while it sends would see a broken pipe.
        body = await request.body()
        trouble = self._trouble(request)
        if trouble is not None:
            self.refused[request.method, trouble.status] += 1
            answer = _refusal(trouble)
        else:
            answer = await run_in_threadpool(self._passed_on, request, body)
        await answer(scope, receive, send)

    def _trouble(self, request: Request) -> Trouble | None:
        fault = self.fault
        if fault is None or request.method not in fault.methods:
            return None
        _, _, key = request.url.path.lstrip("/").partition("/")
        if not key.startswith(fault.prefix):
            return None
        drawn = self._draws.next(request.method, key)
        return drawn.choice(fault.troubles) if drawn.random() < fault.share else None

    def _passed_on(self, request: Request, body: bytes) -> Response:
        query = request.scope["query_string"]
        target = request.scope["raw_path"] + (b"?" + query if query else b"")
        connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_S)
        try:
            connection.putrequest(
                request.method, target.decode("ascii"), skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name not in _PER_HOP and name != "expect":
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return _as_it_came(answer, answer.read())
        finally:
            connection.close()


def _as_it_came(answer: http.client.HTTPResponse, content: bytes) -> Response:
    response = Response(content, status_code=answer.status)
    # Not through the constructor, which would add a length where there is none.
    response.raw_headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in answer.getheaders()
        if name.lower() not in _PER_HOP
    ]
    if answer.getheader("content-length") is None:
        response.raw_headers.append((b"content-length", str(len(content)).encode()))
    return response


def _refusal(trouble: Trouble) -> Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{trouble.code}</Code><Message>injected</Message></Error>"
    )
    return Response(body, status_code=trouble.status, media_type="application/xml")
