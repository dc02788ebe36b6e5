"""A server of an exported model: a page, JSON, TensorFlow Serving's REST.

Pictures of all requests are classified in batches by one thread, whose
operations use all cores. `docs/serving.md` says what its limits are for.
"""

import asyncio
import json
import pathlib
from typing import Any

import fastapi
from fastapi import responses
from starlette import datastructures

from noisy_student_tf.serving import (
    answering,
    guards,
    metrics,
    rest,
)

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


def make_app(
    path: str, settings: answering.Settings | None = None
) -> fastapi.FastAPI:
    """Return the application that serves an export.

    Args:
        path: See `exported.open_export`.
        settings: How it serves.

    Raises:
        FileNotFoundError: There is no SavedModel.
        ValueError: It is of another version or not of this project, or the
            token is too short.
        ImportError: The runtime is not installed.
    """
    settings = settings or answering.Settings()
    server = answering.Server(path, settings)
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


def _add_pages(app: fastapi.FastAPI, server: answering.Server) -> None:
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
            "runtime": export.runtime.name,
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


def _add_answers(app: fastapi.FastAPI, server: answering.Server) -> None:
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
    request: fastapi.Request, server: answering.Server
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
    file: datastructures.UploadFile, server: answering.Server
) -> dict[str, Any]:
    try:
        answer = await server.classify(await file.read())
    except fastapi.HTTPException as error:
        if error.status_code == 503:
            raise
        return {"file": file.filename, "error": error.detail}
    return {"file": file.filename, **answer}
