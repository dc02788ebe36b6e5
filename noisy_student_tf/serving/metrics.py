"""What a server counts, as Prometheus reads it."""

from collections.abc import Callable

import prometheus_client

from noisy_student_tf.serving import guards

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
# Of requests; all others are one, so that nobody can make new ones.
PATHS = ("/", "/classify", "/model", "/healthz", "/readyz", "/metrics")
_PREDICT, _OTHER = "predict", "other"
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counts requests, pictures, batches and reloads of one server."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._registry = prometheus_client.CollectorRegistry()

        def make(kind, name, text, *labels, **options):
            name = f"noisy_student_{name}"
            return kind(name, text, labels, registry=self._registry, **options)

        counter = prometheus_client.Counter
        histogram = prometheus_client.Histogram
        self._requests = make(counter, "requests", "Answered.", "path", "code")
        self._seconds = make(
            histogram, "request_seconds", "Of a request.", "path"
        )
        self._pictures = make(counter, "pictures", "Answered.", "is_valid")
        self._batches = make(
            histogram,
            "batch_size",
            "Pictures that were classified together.",
            buckets=_BATCH_SIZES,
        )
        self._reloads = make(
            counter, "reloads", "Newer exports that were found.", "is_good"
        )
        self._waiting = make(
            prometheus_client.Gauge, "waiting", "Pictures without a batch yet."
        )

    def watch_waiting(self, num_waiting: Callable[[], int]) -> None:
        """Say where the number of waiting pictures is asked for."""
        self._waiting.set_function(num_waiting)

    def count_request(self, request: guards.Request) -> None:
        """Count a request that was answered."""
        path = request.path if request.path in PATHS else _OTHER
        if request.path.endswith(":predict"):
            path = _PREDICT
        self._requests.labels(path, request.status).inc()
        self._seconds.labels(path).observe(request.seconds)

    def count_picture(self, is_valid: bool) -> None:
        """Count a picture that was answered, decoded or not."""
        self._pictures.labels(str(is_valid).lower()).inc()

    def count_batch(self, size: int) -> None:
        """Count pictures that were classified together."""
        self._batches.observe(size)

    def count_reload(self, is_good: bool) -> None:
        """Count another export that was taken, or could not be."""
        self._reloads.labels(str(is_good).lower()).inc()

    def text(self) -> bytes:
        """Return all of it in Prometheus' format."""
        return prometheus_client.generate_latest(self._registry)
