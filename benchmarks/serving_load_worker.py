"""What `serving_load` runs in processes of their own.

export DIRECTORY          writes the model
bare DIRECTORY PICTURE    prints pictures a second of the bare SavedModel
plain                     serves it as is written first
"""

import time

from absl import app, flags

from benchmarks import serving

flags.DEFINE_integer("port", 0, "Where `plain` listens.")

_BATCH = 32
_SECONDS = 10.0


def main(arguments: list[str]) -> None:
    """Do what the first word says."""
    {"export": export, "bare": measure_bare, "plain": serve_plain}[
        arguments[1]
    ](*arguments[2:])


def export(directory: str) -> None:
    """Write the model's SavedModel."""
    name, *_ = flags.FLAGS.model
    serving.write_and_open(*serving.make_model(name), directory)


def measure_bare(directory: str, path: str) -> None:
    """Print how many pictures a second the SavedModel alone classifies."""
    from noisy_student_tf.serving import exported

    with open(path, "rb") as file:
        pictures = [file.read()] * _BATCH
    opened = exported.open_export(directory)
    list(exported.classify(opened, pictures))
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        count += len(list(exported.classify(opened, pictures)))
    print(count / (time.perf_counter() - started))


def serve_plain() -> None:
    """Serve the Keras model, one picture a call, as examples do."""
    import fastapi
    import tensorflow as tf
    import uvicorn

    name, *_ = flags.FLAGS.model
    model, spec = serving.make_model(name)
    server = fastapi.FastAPI()

    @server.get("/healthz")
    def healthz() -> dict[str, str]:
        return {}

    @server.post("/classify")
    async def classify(request: fastapi.Request) -> dict[str, str]:
        image = tf.image.resize(
            tf.io.decode_jpeg(await request.body(), channels=3),
            [spec.resolution] * 2,
            method="bicubic",
        )
        logits = model.predict(image[tf.newaxis], verbose=0)
        return {"class_name": str(int(logits.argmax()))}

    uvicorn.run(server, port=flags.FLAGS.port, log_level="warning")


if __name__ == "__main__":
    app.run(main)
