"""Import torchvision beside a torch that its operators were not built for.

Runs in the peers' environments, and imports nothing of this project.
"""

import sys


def import_torchvision():
    """Import torchvision, whose operators nobody here calls.

    Built for a torch with CUDA they do not load beside one without. Their
    schemas are all that importing asks for.

    Returns:
        What holds the schemas, as long as it lives; None: they loaded.
    """
    try:
        import torchvision  # noqa: F401

        return None
    except RuntimeError:
        import torch

        for name in [n for n in sys.modules if n.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold)"
                " -> Tensor"
            )
        return library
