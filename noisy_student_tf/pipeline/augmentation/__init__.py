"""The image noise: RandAugment, crops, mixing."""
