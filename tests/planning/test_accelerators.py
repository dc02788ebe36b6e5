import pytest

from noisy_student_tf.planning import accelerators


@pytest.mark.parametrize(
    "name, num_devices, num_hosts",
    [
        ("v3-2048", 2048, 256),  # Named by cores, each a device.
        ("v4-8", 4, 1),  # Named by cores, two make a device.
        ("v5e-256", 256, 64),
        ("h100-12", 12, 2),
    ],
)
def test_names_count_devices_and_hosts(name, num_devices, num_hosts):
    accelerator = accelerators.parse(name)
    assert accelerator.num_devices == num_devices
    assert accelerator.num_hosts == num_hosts


def test_a_multiply_add_is_two_operations():
    accelerator = accelerators.parse("v3-2")
    # 123e12 FLOP/s, half of which is reached.
    assert accelerator.seconds(61.5e12 / 2, utilization=0.5) == pytest.approx(
        1.0
    )


@pytest.mark.parametrize(
    "name, message",
    [
        ("v3", "FAMILY-NUMBER"),
        ("h10-8", "Did you mean h100-8"),
        ("v4-1", "at least 2"),
    ],
)
def test_unknown_accelerators_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        accelerators.parse(name)
