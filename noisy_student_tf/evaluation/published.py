"""Constants of the published robustness benchmarks.

AlexNet's errors normalize mCE, its flip probabilities mFR. The errors are
those of hendrycks/robustness; with them the published raw errors of
ResNeXt-101 32x48d WSL give the published 45.7. The flip probabilities are
**recalled**: no public source of them was found. With them that network's raw
values give the published 27.8, and ResNet-50's the published 58.0; outputs
mark what is computed with them.
"""

# Corruption -> AlexNet's top-1 error at severities 1 to 5.
ALEXNET_ERRORS = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
    "speckle_noise": (0.66192, 0.74440, 0.90246, 0.94548, 0.97268),
    "gaussian_blur": (0.54732, 0.70444, 0.82574, 0.89864, 0.95940),
    "spatter": (0.47196, 0.62194, 0.75052, 0.84132, 0.90182),
    "saturate": (0.59342, 0.65514, 0.51174, 0.70834, 0.82260),
}

# Perturbation -> AlexNet's flip probability at difficulty 1. Recalled.
ALEXNET_FLIP_PROBABILITIES = {
    "gaussian_noise": 0.2365,
    "shot_noise": 0.3006,
    "motion_blur": 0.0930,
    "zoom_blur": 0.0594,
    "snow": 0.1193,
    "brightness": 0.0489,
    "translate": 0.1101,
    "rotate": 0.1310,
    "tilt": 0.0705,
    "scale": 0.2353,
}

# The 200 classes of ImageNet-A among ImageNet's 1000, as published in
# hendrycks/natural-adv-examples. The set's folders in sorted order have the
# same order.
_IMAGENET_A = """
    6 11 13 15 17 22 23 27 30 37 39 42 47 50 57 70 71 76 79 89 90 94 96 97
    99 105 107 108 110 113 124 125 130 132 143 144 150 151 207 234 235 254
    277 283 287 291 295 298 301 306 307 308 309 310 311 313 314 315 317 319
    323 324 326 327 330 334 335 336 347 361 363 372 378 386 397 400 401 402
    404 407 411 416 417 420 425 428 430 437 438 445 456 457 461 462 470 472
    483 486 488 492 496 514 516 528 530 539 542 543 549 552 557 561 562 569
    572 573 575 579 589 606 607 609 614 626 627 640 641 642 643 658 668 677
    682 684 687 701 704 719 736 746 749 752 758 763 765 768 773 774 776 779
    780 786 792 797 802 803 804 813 815 820 823 831 833 835 839 845 847 850
    859 862 870 879 880 888 890 897 900 907 913 924 932 933 934 937 943 945
    947 951 954 956 957 959 971 972 980 981 984 986 987 988
"""
IMAGENET_A_CLASSES = tuple(map(int, _IMAGENET_A.split()))
