"""The study on Fashion-MNIST: what of the paper holds there."""
