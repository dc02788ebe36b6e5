"""The study on Fashion-MNIST: what runs, what is kept of it, what it says."""
