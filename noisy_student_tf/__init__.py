"""Noisy Student Training for Keras 3 and TensorFlow."""
