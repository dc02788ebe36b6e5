"""Requests and answers as TensorFlow Serving's REST interface has them.

Clients written for it need not change. Rows (`instances`) and columns
(`inputs`) of the signature `serving_default` are understood; see
https://www.tensorflow.org/tfx/serving/api_rest.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from noisy_student_tf.serving import exported

INPUT = "image_bytes"
_SIGNATURE = "serving_default"
_ACCEPTED = (
    f'{{"instances": [{{"b64": "..."}}, ...]}}, or {{"inputs": {{"{INPUT}": '
    '[{"b64": "..."}, ...]}}'
)

# There is one version, and it answers.
STATUS = {
    "model_version_status": [
        {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
}


def parse(body: Any) -> tuple[list[bytes], bool]:
    """Return the pictures of a request, and whether it has rows.

    Args:
        body: Its JSON, parsed.

    Raises:
        ValueError: It is no such request.
    """
    if not isinstance(body, dict):
        raise ValueError(f"the request is no object; accepted is {_ACCEPTED}.")
    signature = body.get("signature_name", _SIGNATURE)
    if signature != _SIGNATURE:
        raise ValueError(
            f"signature_name={signature!r}: accepted is {_SIGNATURE}."
        )
    if ("instances" in body) == ("inputs" in body):
        raise ValueError(f"accepted is {_ACCEPTED}.")
    has_rows = "instances" in body
    values = body["instances"] if has_rows else body["inputs"]
    if not has_rows and isinstance(values, dict) and set(values) == {INPUT}:
        values = values[INPUT]
    if not isinstance(values, list) or not values:
        raise ValueError(f"no list of pictures; accepted is {_ACCEPTED}.")
    return [_decode(value) for value in values], has_rows


def _decode(value: Any) -> bytes:
    if isinstance(value, dict) and set(value) == {INPUT}:
        value = value[INPUT]
    text = value.get("b64") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"a picture is not given as b64: {_ACCEPTED}.")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"b64 that cannot be decoded: {error}.") from error


def answer(
    predictions: Sequence[exported.Prediction], *, has_rows: bool
) -> dict[str, Any]:
    """Return the answer to what `parse` returned."""
    rows = [
        {
            "probabilities": each.probabilities.tolist(),
            "classes": each.class_index,
            "class_names": each.class_name,
            "valid": each.is_valid,
        }
        for each in predictions
    ]
    if has_rows:
        return {"predictions": rows}
    return {"outputs": {name: [row[name] for row in rows] for name in rows[0]}}
