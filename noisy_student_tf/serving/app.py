"""A server of an exported model: a page, JSON, TensorFlow Serving's REST.

Pictures of all requests are classified in batches by one thread, whose
operations use all cores. `docs/serving.md` says what its limits are for.
"""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import fastapi
import numpy as np
from fastapi import responses
from starlette import concurrency, datastructures

from noisy_student_tf.records import pictures
from noisy_student_tf.serving import (
    batching,
    guards,
    metrics,
    reloading,
    rest,
)

_NUM_SHOWN = 10
_REFUSED = (
    "This is not a picture that can be decoded. Accepted are "
    f"{pictures.ACCEPTED}."
)
_RETRY_SECONDS = 1

PAGE = pathlib.Path(__file__).with_name("page.html")
# Nothing is loaded from elsewhere, and pictures stay in the page.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src blob:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; connect-src 'self'"
    )
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_CLASSIFY_DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "pictures": {
                            "type": "array",
                            "items": _BINARY["schema"],
                        }
                    },
                }
            },
        },
    }
}
_PREDICT_DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"instances": [{"b64": "iVBORw0KGgo..."}]},
            }
        },
    }
}


def _ignore(request: guards.Request) -> None:
    del request


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a server serves.

    Attributes:
        batches: How many pictures go together, and wait.
        requests: What one request may take.
        max_pixels: Of a picture; larger ones are refused undecoded.
        token: That requests have to send; empty: none.
        reload_seconds: How often a newer export is looked for; 0: never.
        tell: Is told of every request that was answered.
    """

    batches: batching.Limits = dataclasses.field(
        default_factory=batching.Limits
    )
    requests: guards.Limits = dataclasses.field(default_factory=guards.Limits)
    max_pixels: int = 50_000_000
    token: str = ""
    reload_seconds: float = 0.0
    tell: Callable[[guards.Request], None] = _ignore


class _Server:
    """What the routes share."""

    def __init__(self, path: str, settings: Settings) -> None:
        self.settings = settings
        self.metrics = metrics.Metrics()
        self.models = reloading.Models(
            path, count_reload=self.metrics.count_reload
        )
        self.batcher = batching.Batcher(
            self.models.classify,
            settings.batches,
            count_batch=self.metrics.count_batch,
        )
        self.metrics.watch_waiting(lambda: self.batcher.num_waiting)
        self.is_ready = False

    @contextlib.asynccontextmanager
    async def lifespan(self, app: fastapi.FastAPI) -> AsyncIterator[None]:
        """Answer from the start to the end of the application."""
        async with self.batcher.running(), asyncio.TaskGroup() as tasks:
            watching = None
            if seconds := self.settings.reload_seconds:
                watching = tasks.create_task(self.models.watch(seconds))
            self.is_ready = True
            yield
            self.is_ready = False
            if watching:
                watching.cancel()

    def tell(self, request: guards.Request) -> None:
        """Count and log a request."""
        self.metrics.count_request(request)
        self.settings.tell(request)

    async def predict(self, encoded: list[bytes]) -> list[reloading.Answer]:
        """Return what the model says of pictures that the graph decodes.

        Raises:
            fastapi.HTTPException: There are too many, or too many wait.
        """
        limit = self.settings.batches.max_waiting
        if len(encoded) > limit:
            raise fastapi.HTTPException(
                413, f"More than {limit} pictures. Send fewer at once."
            )
        try:
            answers = await self.batcher.answer(encoded)
        except batching.QueueFullError as error:
            raise fastapi.HTTPException(
                503,
                f"{error} Try again later.",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            ) from error
        for each in answers:
            self.metrics.count_picture(each.prediction.is_valid)
        return answers

    async def classify(self, encoded: bytes) -> dict[str, Any]:
        """Return the answer to one picture.

        Raises:
            fastapi.HTTPException: It is no picture, or too large.
        """
        if not encoded:
            raise fastapi.HTTPException(
                400,
                "The request is empty. Send the bytes of a picture as its "
                "body.",
            )
        try:
            decodable = await concurrency.run_in_threadpool(
                self._to_decodable, encoded
            )
        except pictures.TooLargeError as error:
            raise fastapi.HTTPException(
                413, f"The picture is too large: {error}. Send a smaller one."
            ) from error
        except pictures.CorruptImageError as error:
            raise fastapi.HTTPException(415, f"{_REFUSED} ({error})") from error
        (answer,) = await self.predict([decodable])
        if not answer.prediction.is_valid:
            raise fastapi.HTTPException(415, _REFUSED)
        return _describe(answer)

    async def decodable_or_nothing(self, encoded: bytes) -> bytes:
        """Return what the graph decodes, or what it marks as invalid."""
        try:
            return await concurrency.run_in_threadpool(
                self._to_decodable, encoded
            )
        except pictures.CorruptImageError:
            return b""

    def _to_decodable(self, encoded: bytes) -> bytes:
        limit = self.settings.max_pixels
        width, height = pictures.read_header(encoded).size
        if width * height > limit:
            raise pictures.TooLargeError(limit)
        return pictures.to_decodable(encoded, is_kept=False)


def make_app(path: str, settings: Settings | None = None) -> fastapi.FastAPI:
    """Return the application that serves an export.

    Args:
        path: See `exported.open_export`.
        settings: How it serves.

    Raises:
        FileNotFoundError: There is no SavedModel.
        ValueError: It is of another version or not of this project, or the
            token is too short.
    """
    settings = settings or Settings()
    server = _Server(path, settings)
    app = fastapi.FastAPI(
        title="noisy_student_tf", docs_url="/docs", lifespan=server.lifespan
    )
    _add_pages(app, server)
    _add_answers(app, server)
    # The last one that is added is the first that is asked.
    app.add_middleware(
        guards.Guard, limits=settings.requests, token=settings.token
    )
    app.add_middleware(guards.AccessLog, tell=server.tell)
    # Built now: a token that is too short is told before anything is served.
    app.middleware_stack = app.build_middleware_stack()
    return app


def _add_pages(app: fastapi.FastAPI, server: _Server) -> None:
    """Add what is looked at, by people and by what watches servers."""

    @app.get("/", response_class=responses.HTMLResponse)
    def page() -> responses.HTMLResponse:
        return responses.HTMLResponse(PAGE.read_text("utf-8"), headers=HEADERS)

    @app.get("/model")
    def model() -> dict[str, Any]:
        export = server.models.current
        return {
            "name": export.model["name"],
            "training_fingerprint": export.model["training_fingerprint"],
            "resolution": export.preprocessing["resolution"],
            "class_names": export.class_names,
        }

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        if not server.is_ready:
            raise fastapi.HTTPException(503, "Not ready.")
        return {"status": "ready"}

    @app.get("/metrics")
    def metrics_text() -> responses.Response:
        return responses.Response(
            server.metrics.text(), media_type=metrics.CONTENT_TYPE
        )


def _add_answers(app: fastapi.FastAPI, server: _Server) -> None:
    """Add what classifies."""

    @app.post("/classify", openapi_extra=_CLASSIFY_DOCUMENT)
    async def classify(request: fastapi.Request) -> dict[str, Any]:
        content_type = request.headers.get("content-type", "")
        if not content_type.startswith("multipart/form-data"):
            return await server.classify(await request.body())
        return {"predictions": await _classify_form(request, server)}

    @app.post(
        "/v1/models/{name}:predict",
        openapi_extra=_PREDICT_DOCUMENT,
        response_model=None,
    )
    async def predict(
        name: str, request: fastapi.Request
    ) -> dict[str, Any] | responses.JSONResponse:
        try:
            encoded, has_rows = rest.parse(json.loads(await request.body()))
        except ValueError as error:
            return responses.JSONResponse({"error": str(error)}, 400)
        decodable = [await server.decodable_or_nothing(one) for one in encoded]
        answers = await server.predict(decodable)
        return rest.answer(
            [each.prediction for each in answers], has_rows=has_rows
        )

    @app.get("/v1/models/{name}")
    def status(name: str) -> dict[str, Any]:
        return rest.STATUS


async def _classify_form(
    request: fastapi.Request, server: _Server
) -> list[dict[str, Any]]:
    """Return an answer for each file of a form; the other files' are kept."""
    async with request.form() as form:
        sent = [
            value
            for _, value in form.multi_items()
            if isinstance(value, datastructures.UploadFile)
        ]
        if not sent:
            raise fastapi.HTTPException(
                400, "The form has no file. Send pictures as its files."
            )
        return await asyncio.gather(
            *(_classify_file(each, server) for each in sent)
        )


async def _classify_file(
    file: datastructures.UploadFile, server: _Server
) -> dict[str, Any]:
    try:
        answer = await server.classify(await file.read())
    except fastapi.HTTPException as error:
        if error.status_code == 503:
            raise
        return {"file": file.filename, "error": error.detail}
    return {"file": file.filename, **answer}


def _describe(answer: reloading.Answer) -> dict[str, Any]:
    prediction, class_names = answer
    order = np.argsort(-prediction.probabilities, kind="stable")[:_NUM_SHOWN]
    return {
        "class": prediction.class_index,
        "class_name": prediction.class_name,
        "probabilities": [
            {
                "class_name": class_names[i],
                "probability": float(prediction.probabilities[i]),
            }
            for i in order
        ],
    }
