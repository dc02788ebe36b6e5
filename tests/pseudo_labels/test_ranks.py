import numpy as np

from noisy_student_tf.pseudo_labels import ranks
from tests.pseudo_labels import synthetic


def test_ranks_order_confidences_downwards():
    generator = np.random.default_rng(0)
    confidences = np.sort(generator.random(1000).astype(np.float32))
    confidences = np.append(confidences, [np.nextafter(1, 0, dtype="f4"), 1])
    found = ranks.confidence_ranks(confidences)
    assert (np.diff(found.astype(np.int64)) < 0).all()


def test_negative_zero_ranks_as_zero():
    zeros = ranks.confidence_ranks(np.array([0.0, -0.0], np.float32))
    assert zeros[0] == zeros[1]


def test_words_order_ids_as_bytes_do():
    ids = synthetic.make_ids(100)
    words = [tuple(row) for row in ranks.id_words(ids).tolist()]
    order = sorted(range(100), key=words.__getitem__)
    assert order == sorted(range(100), key=lambda i: ids[i].tobytes())


def test_hashes_depend_on_id_seed_and_purpose_and_are_uniform():
    words = ranks.id_words(synthetic.make_ids(4000))
    found = [
        ranks.hashes(words, seed=seed, purpose=purpose)
        for seed in (0, 1)
        for purpose in ("ties", "copies")
    ]
    assert len(np.unique(np.concatenate(found))) == 16000
    for hashes in found:
        # 8 bins of 500, standard deviation 21.
        counts = np.bincount((hashes >> np.uint64(60)).astype(int))
        assert len(counts) == 8
        assert (np.abs(counts - 500) < 110).all()
    correlation = np.corrcoef([h.astype(float) for h in found])
    assert np.abs(correlation - np.eye(4)).max() < 0.08
