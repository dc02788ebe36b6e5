"""What stands before a server's routes: token, limits of requests, a log.

Middleware of ASGI, the interface that every Python server has: it sees what
comes byte by byte, and what goes out.
"""

import asyncio
import dataclasses
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import responses
from uvicorn.protocols.http import h11_impl

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MIN_TOKEN_LENGTH = 16
# Asked by what keeps the server alive, which has no token; and the page, which
# has nothing to hide and cannot be asked for with one.
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one request may take.

    Attributes:
        max_bytes: Of its body.
        read_seconds: Until its body is there.
        answer_seconds: Until it is answered, from then on.
    """

    max_bytes: int = 32 * 2**20
    read_seconds: float = 30.0
    answer_seconds: float = 30.0


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """Refuses requests without the token, and those that take too much."""

    def __init__(self, app: App, *, limits: Limits, token: str = "") -> None:
        """Say what is guarded.

        Args:
            app: What answers.
            limits: Of a request.
            token: That has to be sent; empty: none.

        Raises:
            ValueError: The token is short enough to be guessed.
        """
        if token and len(token) < MIN_TOKEN_LENGTH:
            raise ValueError(
                f"The token has {len(token)} characters; accepted are "
                f"{MIN_TOKEN_LENGTH} or more, such as those of `openssl rand "
                "-hex 16`."
            )
        self._app = app
        self._limits = limits
        self._token = token

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            self._check_token(scope)
            body = await self._read(scope, receive)
            async with asyncio.timeout(self._limits.answer_seconds):
                await self._app(scope, _once(body, receive), send_and_note)
        except (_RefusedError, TimeoutError) as error:
            if has_begun:
                raise
            refusal = (
                error
                if isinstance(error, _RefusedError)
                else _RefusedError(503, "The answer took too long. Try again.")
            )
            await _refuse(refusal)(scope, receive, send)

    def _check_token(self, scope: MutableMapping[str, Any]) -> None:
        if not self._token or scope["path"] in OPEN_PATHS:
            return
        sent = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(sent, f"Bearer {self._token}".encode()):
            raise _RefusedError(
                401, "Send the server's token: Authorization: Bearer TOKEN."
            )

    async def _read(
        self, scope: MutableMapping[str, Any], receive: Receive
    ) -> bytes:
        """Return a request's body, as long as it is neither long nor late."""
        limit = self._limits.max_bytes
        too_long = _RefusedError(
            413, f"The request has more than {limit} bytes. Send less."
        )
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise too_long
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _RefusedError(400, "The request broke off.")
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise too_long
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise _RefusedError(
                408,
                "The request was not complete after "
                f"{self._limits.read_seconds:g} s. Send it again.",
            ) from None


def _once(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that is there, and then waits for the end."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


def _refuse(error: _RefusedError) -> responses.JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    # What was not read of the body would be taken for the next request.
    headers["Connection"] = "close"
    return responses.JSONResponse(
        {"detail": str(error)}, error.status, headers=headers
    )


def bounded_connections(
    *, max_open: int, idle_seconds: float
) -> type[asyncio.Protocol]:
    """Return the protocol of a server that nobody can keep busy with nothing.

    Connections beyond a number are closed at once; so are, in time, those
    that send no request, or its head byte by byte. The head itself is bounded
    by h11, to 16 KiB.

    Args:
        max_open: Connections.
        idle_seconds: After which nothing has been asked; up to twice as long.
    """

    class Connection(h11_impl.H11Protocol):
        _last: Any = None
        _look: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > max_open:
                transport.abort()
                return
            self._look_later()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._look:
                self._look.cancel()
            super().connection_lost(exc)

        def _look_later(self) -> None:
            self._look = self.loop.call_later(idle_seconds, self._close_idle)

        def _close_idle(self) -> None:
            # A request that is being answered has limits of its own.
            is_idle = self.cycle is None or self.cycle.response_complete
            if is_idle and self.cycle is self._last:
                self.transport.close()
                return
            self._last = self.cycle
            self._look_later()

    return Connection


@dataclasses.dataclass(frozen=True)
class Request:
    """What is logged of a request that was answered.

    Attributes:
        client: Its address.
        method: Of HTTP.
        path: Without what follows `?`.
        status: Of the answer; 499 where the client did not wait for it.
        seconds: From the first byte to the last.
        bytes_sent: Of the answer's body.
    """

    client: str
    method: str
    path: str
    status: int
    seconds: float
    bytes_sent: int


class AccessLog:
    """Tells of every request when it has been answered."""

    _HUNG_UP = 499

    def __init__(self, app: App, *, tell: Callable[[Request], None]) -> None:
        """Say what answers, and what is told."""
        self._app = app
        self._tell = tell

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer a request, and tell of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, bytes_sent = self._HUNG_UP, 0

        async def send_and_count(message: Message) -> None:
            nonlocal status, bytes_sent
            if message["type"] == "http.response.start":
                status = message["status"]
            bytes_sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_count)
        finally:
            self._tell(
                Request(
                    client=(scope.get("client") or ("", 0))[0],
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=time.perf_counter() - started,
                    bytes_sent=bytes_sent,
                )
            )


def as_json(request: Request) -> str:
    """Return a request as one line of JSON, with the time in UTC."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    values = {"time": now, **dataclasses.asdict(request)}
    values["seconds"] = round(request.seconds, 6)
    return json.dumps(values)
