import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from noisy_student_tf.evaluation.significance import paired
from noisy_student_tf.records import held_out, schema


def write(path, labels, logits, names=None):
    """Write a file of held-out images."""
    names = range(len(labels)) if names is None else names
    ids = [schema.make_id("test", str(name)) for name in names]
    with held_out.open_writer(str(path), logits.shape[1]) as keep:
        keep(logits.astype(np.float32), labels, ids)
    return str(path)


def two_models(num_images=200, num_classes=3, seed=0):
    """Return labels, and logits of a good and of a poor model."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_classes, num_images)
    truth = np.eye(num_classes)[labels]
    noise = generator.normal(size=(2, num_images, num_classes))
    return labels, 3 * truth + noise[0], truth + noise[1]


def test_mcnemar_counts_the_images_that_one_alone_has_right():
    labels = np.zeros(20, np.int64)
    model, baseline = np.zeros(20, np.int64), np.zeros(20, np.int64)
    baseline[:7] = 1
    model[6:8] = 1

    found = paired.of_accuracy(labels, model, baseline)

    assert found["num_right_alone"] == 6
    assert found["num_baseline_right_alone"] == 1
    assert found["difference"] == pytest.approx(5 / 20)
    # 2 (1 + 7) / 2^7
    assert found["p_value"] == pytest.approx(16 / 128)


def test_equal_models_do_not_differ():
    labels = np.arange(10) % 2

    found = paired.of_accuracy(labels, labels, labels)

    assert (found["difference"], found["p_value"]) == (0, 1)
    assert found["interval_95"] == [0, 0]


def test_the_bootstrap_has_the_width_of_the_normal_interval():
    labels = np.zeros(1000, np.int64)
    model, baseline = np.zeros((2, 1000), np.int64)
    baseline[:150], model[150:200] = 1, 1

    low, high = paired.of_accuracy(labels, model, baseline)["interval_95"]

    deviation = np.sqrt((0.15 + 0.05 - 0.1**2) / 1000)
    assert low == pytest.approx(0.1 - 1.96 * deviation, abs=0.003)
    assert high == pytest.approx(0.1 + 1.96 * deviation, abs=0.003)


def test_images_are_joined_by_id(tmp_path):
    labels, good, poor = two_models()
    order = np.random.default_rng(1).permutation(len(labels))
    model = write(tmp_path / "model", labels, good)
    straight = write(tmp_path / "straight", labels, poor)
    shuffled = write(tmp_path / "shuffled", labels[order], poor[order], order)

    assert paired.compare(model, straight) == paired.compare(model, shuffled)


def test_differences_are_those_of_scikit_learn(tmp_path):
    labels, good, poor = two_models()

    found = paired.compare(
        write(tmp_path / "model", labels, good),
        write(tmp_path / "baseline", labels, poor),
    )

    def difference(metric, *columns, **options):
        return np.subtract(*(metric(labels, c, **options) for c in columns))

    shares = [
        np.exp(each.astype(np.float32).astype(np.float64))
        for each in (good, poor)
    ]
    shares = [each / each.sum(1, keepdims=True) for each in shares]
    chosen = [each.argmax(1) for each in shares]
    assert found["difference"] == pytest.approx(
        difference(metrics.accuracy_score, *chosen)
    )
    assert found["macro_f1_difference"] == pytest.approx(
        difference(metrics.f1_score, *chosen, average="macro")
    )
    assert found["auroc_difference"] == pytest.approx(
        difference(metrics.roc_auc_score, *shares, multi_class="ovr")
    )
    for name in ("macro_f1", "auroc"):
        low, high = found[f"{name}_interval_95"]
        assert low < found[f"{name}_difference"] < high
        assert low > 0


def test_a_weighted_area_counts_drawn_images_as_often():
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.8, 0.9])
    is_positive = np.array([False, True, False, True, False, True])
    counts = np.array([[1] * 6, [2, 0, 1, 3, 0, 1], [1, 0, 1, 0, 1, 0]])

    areas = paired._auroc(is_positive, scores, counts)

    for area, weights in zip(areas[:2], counts[:2], strict=True):
        assert area == pytest.approx(
            metrics.roc_auc_score(is_positive, scores, sample_weight=weights)
        )
    assert np.isnan(areas[2])


def test_the_same_files_give_the_same_intervals(tmp_path):
    labels, good, poor = two_models(num_images=30)
    paths = (
        write(tmp_path / "model", labels, good),
        write(tmp_path / "baseline", labels, poor),
    )

    assert paired.compare(*paths) == paired.compare(*paths)


def test_one_class_has_no_area(tmp_path):
    _, good, poor = two_models(num_images=10)
    labels = np.ones(10, np.int64)

    found = paired.compare(
        write(tmp_path / "model", labels, good),
        write(tmp_path / "baseline", labels, poor),
    )

    assert found["auroc_difference"] is None
    assert found["auroc_interval_95"] is None


def test_other_images_are_refused(tmp_path):
    labels, good, poor = two_models(num_images=10)
    model = write(tmp_path / "model", labels, good)
    other = write(tmp_path / "other", labels, poor, range(5, 15))
    fewer = write(tmp_path / "fewer", labels[:9], poor[:9])

    for path in (other, fewer):
        with pytest.raises(ValueError, match="not of the same ones"):
            paired.compare(model, path)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    labels = np.zeros(150, np.int64)
    covered = 0
    for _ in range(200):
        model = (generator.random(150) < 0.2).astype(int)
        baseline = (generator.random(150) < 0.3).astype(int)
        found = paired.of_accuracy(labels, model, baseline)
        low, high = found["interval_95"]
        covered += low <= 0.1 <= high

    # 95 % of 200, give or take three deviations.
    assert stats.binomtest(covered, 200, 0.95).pvalue > 0.002
