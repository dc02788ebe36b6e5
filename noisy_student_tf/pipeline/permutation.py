"""Orders of an epoch that are computed, not stored.

A Feistel network of keyed hashes is a bijection of the numbers below a power
of four; numbers that leave the wanted range go through it again until they
are inside (cycle walking). Any place of any epoch's order is known at once,
whatever the number of rows, and takes no memory.

Reference: Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002.
"""

import tensorflow as tf

_NUM_ROUNDS = 6
# Fewer bits than 4 for each half would leave too few functions to draw from.
_MIN_HALF_BITS = 4
# Odd multipliers of a well-mixing 64-bit hash (splitmix64), as signed numbers.
_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)


def shuffled(
    places: tf.Tensor, *, epochs: tf.Tensor, size: int, seed: int
) -> tf.Tensor:
    """Return which row stands at places of the orders of epochs.

    Args:
        places: int64 [num_places] in [0, size).
        epochs: int64 [num_places]; every epoch has an order of its own.
        size: Rows of an epoch.
        seed: Of all orders.

    Returns:
        int64 [num_places] in [0, size); over all places of one epoch, each
        row once.
    """
    half_bits = max(_MIN_HALF_BITS, ((size - 1).bit_length() + 1) // 2)
    rounds = tf.range(_NUM_ROUNDS, dtype=tf.int64)[:, tf.newaxis]
    # A sum alone would give one seed the orders of the next, an epoch later.
    epoch_keys = _hash(_hash(epochs + 1) + seed)
    keys = tf.unstack(_hash(epoch_keys + rounds))

    def is_outside(rows: tf.Tensor, is_out: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(is_out)

    def walk(rows: tf.Tensor, is_out: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.where(is_out, _feistel(rows, keys, half_bits), rows)
        return rows, rows >= size

    everywhere = tf.ones_like(places, tf.bool)
    return tf.while_loop(is_outside, walk, (places, everywhere))[0]


def _feistel(
    values: tf.Tensor, keys: list[tf.Tensor], half_bits: int
) -> tf.Tensor:
    """Permute int64 values below 2^(2 * half_bits)."""
    mask = tf.constant((1 << half_bits) - 1, tf.int64)
    left = tf.bitwise.right_shift(values, tf.constant(half_bits, tf.int64))
    right = tf.bitwise.bitwise_and(values, mask)
    for key in keys:
        changed = tf.bitwise.bitwise_and(_hash(right + key), mask)
        left, right = right, tf.bitwise.bitwise_xor(left, changed)
    return left * (1 << half_bits) + right


def _hash(values: tf.Tensor) -> tf.Tensor:
    """Mix the bits of int64 values; products wrap around."""
    for multiplier, shift in zip(_MULTIPLIERS, (30, 27), strict=True):
        shifted = tf.bitwise.right_shift(values, tf.constant(shift, tf.int64))
        values = tf.bitwise.bitwise_xor(values, shifted)
        values *= tf.constant(multiplier, tf.int64)
    shifted = tf.bitwise.right_shift(values, tf.constant(31, tf.int64))
    return tf.bitwise.bitwise_xor(values, shifted)
