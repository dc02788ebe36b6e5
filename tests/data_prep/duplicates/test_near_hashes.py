import numpy as np
import pytest

from data_prep.duplicates import near_hashes


def hashes_with_neighbors(num_hashes=400):
    """Random hashes, a third of which are others with 0 to 8 bits flipped."""
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, num_hashes, dtype=np.uint64)
    for place in range(0, num_hashes, 3):
        flipped = generator.choice(64, generator.integers(0, 9), replace=False)
        mask = sum(1 << int(bit) for bit in flipped)
        other = generator.integers(num_hashes)
        hashes[place] = hashes[other] ^ np.uint64(mask)
    return hashes


@pytest.mark.parametrize("max_bits", [0, 1, 4, 8])
def test_nearest_is_that_of_comparing_all(max_bits):
    queries = hashes_with_neighbors()
    references = queries[::-1][:300]
    apart = np.bitwise_count(queries[:, None] ^ references[None])
    expected = np.where(apart.min(axis=1) <= max_bits, apart.argmin(axis=1), -1)
    found, distance = near_hashes.nearest(
        queries, references, max_bits=max_bits
    )
    np.testing.assert_array_equal(found, expected)
    is_found = found >= 0
    assert 0 < is_found.sum() < 400
    np.testing.assert_array_equal(
        distance[is_found], apart.min(axis=1)[is_found]
    )


def test_parts_of_bounded_size_find_the_same(monkeypatch):
    queries = hashes_with_neighbors()
    expected = near_hashes.nearest(queries, queries[:200], max_bits=4)
    monkeypatch.setattr(near_hashes, "_MAX_PAIRS", 3)
    found = near_hashes.nearest(queries, queries[:200], max_bits=4)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("max_bits", [0, 4])
def test_repeated_are_all_with_a_neighbor_of_smaller_rank(max_bits):
    hashes = hashes_with_neighbors()
    ranks = np.random.default_rng(1).permutation(400).astype(np.uint64)
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= max_bits
    expected = {i for i in range(400) if (near[i] & (ranks < ranks[i])).any()}
    found = set()
    for mask in near_hashes.masks(max_bits):
        losers, keepers = near_hashes.repeated(
            hashes, ranks, mask=mask, max_bits=max_bits
        )
        assert (ranks[keepers] < ranks[losers]).all()
        assert near[losers, keepers].all()
        found |= set(losers.tolist())
    assert found == expected


def test_masks_of_two_blocks_cover_all_bits():
    found = near_hashes.masks(4)
    assert len(found) == 15
    assert {mask.bit_count() for mask in found} <= {20, 21, 22}
    assert near_hashes.masks(0) == [2**64 - 1]
