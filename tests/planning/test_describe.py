import pytest

from noisy_student_tf.configs import presets
from noisy_student_tf.planning import compute, describe

IMAGENET = compute.Data(
    num_labeled=1_281_167,
    num_unlabeled=300_000_000,
    num_rows=130_000_000,
    num_selected=81_000_000,
)


def points_of(preset):
    config = presets.preset(preset)
    return describe.simulate_schedule(config, IMAGENET, num_points=8)


@pytest.mark.parametrize(
    "preset, passes",
    [
        ("imagenet_b7", 10.3),
        ("imagenet_l2_iteration1", 48.3),
        ("imagenet_l2_iteration3", 96.6),
    ],
)
def test_passes_over_the_130_million_rows(preset, passes):
    last = points_of(preset)[-1]
    assert last["labeled epoch"] == pytest.approx(350, abs=0.01)
    made = last["passes over the pseudo-labeled rows"]
    assert made == pytest.approx(passes, abs=0.1)


def test_rate_rises_from_zero_and_ends_at_one_percent():
    points = points_of("imagenet_b7")
    assert points[0]["learning rate"] == 0.0
    # 145 stairs of 0.97 from 0.128.
    assert points[-1]["learning rate"] == pytest.approx(
        0.128 * 0.97**145, rel=1e-4
    )


def test_averages_ramp_up():
    points = points_of("imagenet_b7")
    assert points[0]["EMA decay"] == pytest.approx(0.1)
    # (1 + t) / (10 + t) reaches 0.9999 after 89,990 updates.
    assert points[2]["EMA decay"] < 0.9999
    assert points[3]["EMA decay"] == pytest.approx(0.9999)
