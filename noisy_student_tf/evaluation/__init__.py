"""What is measured of a classifier, and of whom it is compared with."""
