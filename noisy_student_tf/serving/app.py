"""A page and a JSON endpoint for trying an exported model.

One picture at a time, one process, no batching and no accounts: for looking at
a model, not for serving it. `docs/serving.md` says what is.
"""

import pathlib
from typing import Any

import fastapi
import numpy as np
from fastapi import responses
from starlette import concurrency

from noisy_student_tf.records import pictures
from noisy_student_tf.serving import exported

MAX_BYTES = 32 * 2**20
_NUM_SHOWN = 10
_REFUSED = (
    "This is not a picture that can be decoded. Accepted are "
    f"{pictures.ACCEPTED}."
)

PAGE = pathlib.Path(__file__).with_name("page.html")
# Nothing is loaded from elsewhere, and pictures stay in the page.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src blob:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; connect-src 'self'"
    )
}


def make_app(export: exported.Exported) -> fastapi.FastAPI:
    """Return the application: `GET /`, `GET /model`, `POST /classify`."""
    app = fastapi.FastAPI(title="noisy_student_tf", docs_url="/docs")

    @app.get("/", response_class=responses.HTMLResponse)
    def page() -> responses.HTMLResponse:
        return responses.HTMLResponse(PAGE.read_text("utf-8"), headers=HEADERS)

    @app.get("/model")
    def model() -> dict[str, Any]:
        return {
            "name": export.model["name"],
            "training_fingerprint": export.model["training_fingerprint"],
            "resolution": export.preprocessing["resolution"],
            "class_names": export.class_names,
        }

    @app.post("/classify")
    async def classify(request: fastapi.Request) -> dict[str, Any]:
        encoded = await _read_picture(request)
        return await concurrency.run_in_threadpool(_classify, export, encoded)

    return app


async def _read_picture(request: fastapi.Request) -> bytes:
    """Return the request's body, no more than `MAX_BYTES`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise fastapi.HTTPException(
                413,
                f"The picture has more than {MAX_BYTES} bytes. Send a smaller "
                "one.",
            )
    if not body:
        raise fastapi.HTTPException(
            400,
            "The request is empty. Send the bytes of a picture as its body.",
        )
    return bytes(body)


def _classify(export: exported.Exported, encoded: bytes) -> dict[str, Any]:
    try:
        decodable = pictures.to_decodable(encoded, is_kept=False)
    except pictures.TooLargeError as error:
        raise fastapi.HTTPException(
            413,
            f"The picture is too large: {error}. Send a smaller one.",
        ) from error
    except pictures.CorruptImageError as error:
        raise fastapi.HTTPException(415, f"{_REFUSED} ({error})") from error
    (prediction,) = exported.classify(export, [decodable])
    if not prediction.is_valid:
        raise fastapi.HTTPException(415, _REFUSED)
    order = np.argsort(-prediction.probabilities, kind="stable")[:_NUM_SHOWN]
    return {
        "class": prediction.class_index,
        "class_name": prediction.class_name,
        "probabilities": [
            {
                "class_name": export.class_names[i],
                "probability": float(prediction.probabilities[i]),
            }
            for i in order
        ],
    }
