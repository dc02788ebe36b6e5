import pytest

from noisy_student_tf import configs
from noisy_student_tf.model import architectures
from noisy_student_tf.planning import dry_run


@pytest.mark.parametrize(
    "model, timed",
    [
        (
            {"width": 0.25, "depth": 0.1, "resolution": 16},
            ("efficientnet-b0", 0.25, 16),
        ),
        # 480 M parameters are not built for an estimate.
        (
            {"name": "efficientnet-l2", "resolution": 475},
            ("efficientnet-b0", 1.0, 224),
        ),
    ],
)
def test_the_runs_own_network_is_timed_unless_it_is_large(
    monkeypatch, model, timed
):
    built = []

    def build(spec, **options):
        built.append((spec.name, spec.width, spec.resolution))
        return real(spec, **options)

    real = architectures.build
    monkeypatch.setattr(architectures, "build", build)
    rate = dry_run.measure_rate(configs.ModelConfig(**model))
    assert built == [timed]
    assert rate > 0
