"""FixMatch and FreeMatch from the toolkit semilearn, in their environment.

Needs torch, timm, torchvision and semilearn, and nothing of this project:

    python fixmatch_worker.py REQUEST.json

A request (see `fixmatch.request`) names `images`, a folder of .npy files,
`answer`, a .json that is written, and what network and training need. Loss,
RandAugment, optimizer, schedule and averaging are the toolkit's; only its loop
is written anew, since the toolkit's own runs on CUDA devices alone. The network
has no dropout and no stochastic depth: the method's noise is in its images.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import semilearn
import timm.models.efficientnet as timm_efficientnet
import torch
from PIL import Image
from semilearn.algorithms.fixmatch import FixMatch
from semilearn.algorithms.freematch import FreeMatch
from semilearn.algorithms.freematch.utils import FreeMatchThresholdingHook
from semilearn.algorithms.hooks import FixedThresholdingHook, PseudoLabelingHook
from semilearn.core.hooks import EMAHook, ParamUpdateHook
from semilearn.datasets.augmentation import RandAugment
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from torchvision import transforms

# B0's stages, those at stride 1 that are so for small images.
_STAGES = [
    ["ds_r1_k3_s1_e1_c16_se0.25"],
    ["ir_r2_k3_s1_e6_c24_se0.25"],
    ["ir_r2_k5_s1_e6_c40_se0.25"],
    ["ir_r3_k3_s2_e6_c80_se0.25"],
    ["ir_r3_k5_s1_e6_c112_se0.25"],
    ["ir_r4_k5_s2_e6_c192_se0.25"],
    ["ir_r1_k3_s1_e6_c320_se0.25"],
]
_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280
_EVALUATION_BATCH = 500


class Network(torch.nn.Module):
    """An EfficientNet that answers as the toolkit's algorithms expect."""

    def __init__(self, network: dict, num_classes: int) -> None:
        super().__init__()
        width = network["width"]
        self.net = timm_efficientnet.EfficientNet(
            decode_arch_def(_STAGES, depth_multiplier=network["depth"]),
            num_classes=num_classes,
            num_features=round_channels(_HEAD_CHANNELS, width),
            stem_size=_STEM_CHANNELS,
            round_chs_fn=lambda channels: round_channels(channels, width),
            act_layer=torch.nn.SiLU,
            norm_layer=lambda channels, **kwargs: torch.nn.BatchNorm2d(
                channels, momentum=1 - network["batch_norm_momentum"], eps=1e-3
            ),
        )

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return logits and the features before them."""
        features = self.net.forward_head(
            self.net.forward_features(images), pre_logits=True
        )
        return {"logits": self.net.classifier(features), "feat": features}


class FixMatchOnCpu(FixMatch):
    """The toolkit's algorithm without its timers, which ask for CUDA."""

    def set_hooks(self) -> None:
        """Register what labels, masks, updates and averages."""
        self.register_hook(PseudoLabelingHook(), "PseudoLabelingHook")
        self.register_hook(FixedThresholdingHook(), "MaskingHook")
        self.register_hook(ParamUpdateHook(), None, "HIGHEST")
        self.register_hook(EMAHook(), None, "HIGH")


class FreeMatchOnCpu(FreeMatch):
    """The same of FreeMatch, whose thresholds follow what it is sure of."""

    def set_hooks(self) -> None:
        """Register what labels, masks, updates and averages."""
        masks = FreeMatchThresholdingHook(
            num_classes=self.num_classes, momentum=self.args.ema_p
        )
        self.register_hook(PseudoLabelingHook(), "PseudoLabelingHook")
        self.register_hook(masks, "MaskingHook")
        self.register_hook(ParamUpdateHook(), None, "HIGHEST")
        self.register_hook(EMAHook(), None, "HIGH")


_Algorithm = FixMatchOnCpu | FreeMatchOnCpu
_ALGORITHMS: dict[str, Callable[..., _Algorithm]] = {
    "fixmatch": FixMatchOnCpu,
    "freematch": FreeMatchOnCpu,
}


def make_transforms(
    side: int, mean: float, std: float
) -> dict[str, transforms.Compose]:
    """Return the toolkit's weak, strong and test images of small pictures."""
    moves = [
        transforms.RandomCrop(side, padding=side // 8, padding_mode="reflect"),
        transforms.RandomHorizontalFlip(),
    ]
    end = [
        transforms.ToTensor(),
        transforms.Normalize([mean / 255] * 3, [std / 255] * 3),
    ]
    return {
        "weak": transforms.Compose([*moves, *end]),
        "strong": transforms.Compose([*moves, RandAugment(3, 5), *end]),
        "test": transforms.Compose(end),
    }


def make_data(
    images: np.ndarray,
    labels: np.ndarray | None,
    num_classes: int,
    views: dict,
    **kwargs: Any,
) -> semilearn.BasicDataset:
    """Return the toolkit's data set of gray images."""
    pictures = [Image.fromarray(image).convert("RGB") for image in images]
    return semilearn.BasicDataset(
        "fixmatch", pictures, labels, num_classes, views["weak"], **kwargs
    )


def make_algorithm(request: dict, num_classes: int) -> _Algorithm:
    """Return the algorithm with its network and optimizer."""
    config = semilearn.get_config(
        {
            "algorithm": request["algorithm"],
            "dataset": "none",
            "num_classes": num_classes,
            "num_train_iter": request["steps"],
            "epoch": 1,
            "batch_size": request["labeled_batch_size"],
            "uratio": request["unlabeled_ratio"],
            "lr": request["learning_rate"],
            "ema_m": request["ema_decay"],
            "p_cutoff": request["threshold"],
            "ema_p": request["threshold_decay"],
            "distributed": False,
            "rank": 0,
            "world_size": 1,
        }
    )
    config.distributed = False
    return _ALGORITHMS[request["algorithm"]](
        config,
        lambda num_classes, **_: Network(request["network"], num_classes),
        None,
        None,
    )


def train(
    algorithm: _Algorithm,
    labeled: semilearn.BasicDataset,
    unlabeled: semilearn.BasicDataset,
) -> None:
    """Make the steps, as the toolkit's own loop would."""
    algorithm.model.train()
    algorithm.call_hook("before_run")
    batch_size = algorithm.args.batch_size
    batches = zip(
        random_batches(labeled, batch_size),
        random_batches(unlabeled, batch_size * algorithm.args.uratio),
        strict=True,
    )
    for batch in itertools.islice(batches, algorithm.num_train_iter):
        views = {**batch[0], **batch[1]}
        algorithm.call_hook("before_train_step")
        algorithm.out_dict, algorithm.log_dict = algorithm.train_step(
            *(views[name] for name in ("x_lb", "y_lb", "x_ulb_w", "x_ulb_s"))
        )
        algorithm.call_hook("after_train_step")
        algorithm.it += 1
        if algorithm.it % 50 == 0:
            print(algorithm.it, algorithm.log_dict, flush=True)


def random_batches(
    data: semilearn.BasicDataset, size: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches for ever, each image once before one comes again."""
    while True:
        order = np.random.permutation(len(data))
        if len(order) < size:
            order = np.tile(order, -(-size // len(order)))
        for start in range(0, len(order) - size + 1, size):
            yield torch.utils.data.default_collate(
                [data[index] for index in order[start : start + size]]
            )


@torch.no_grad()
def classify(
    model: torch.nn.Module, images: np.ndarray, view: transforms.Compose
) -> np.ndarray:
    """Return the classes of gray images."""
    model.eval()
    classes = []
    for start in range(0, len(images), _EVALUATION_BATCH):
        part = images[start : start + _EVALUATION_BATCH]
        batch = torch.stack(
            [view(Image.fromarray(image).convert("RGB")) for image in part]
        )
        classes.append(model(batch)["logits"].argmax(-1).numpy())
    return np.concatenate(classes)


def main() -> None:
    """Do what a request asks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("request")
    with open(parser.parse_args().request) as file:
        request = json.load(file)
    random.seed(request["seed"])
    np.random.seed(request["seed"])
    torch.manual_seed(request["seed"])
    arrays = {
        path.stem: np.load(path)
        for path in pathlib.Path(request["images"]).glob("*.npy")
    }
    num_classes = int(arrays["train_labels"].max()) + 1
    views = make_transforms(
        arrays["train"].shape[1], request["mean"], request["std"]
    )
    algorithm = make_algorithm(request, num_classes)
    train(
        algorithm,
        make_data(arrays["train"], arrays["train_labels"], num_classes, views),
        make_data(
            arrays["unlabeled"],
            None,
            num_classes,
            views,
            is_ulb=True,
            strong_transform=views["strong"],
        ),
    )
    model = algorithm.ema_model
    answer = {
        "num_parameters": sum(each.numel() for each in model.parameters()),
        "num_correct": {
            split: int(
                (
                    classify(model, arrays[split], views["test"])
                    == arrays[f"{split}_labels"]
                ).sum()
            )
            for split in request["splits"]
        },
    }
    temporary = f"{request['answer']}.tmp"
    with open(temporary, "w") as file:
        json.dump(answer, file)
    os.replace(temporary, request["answer"])


if __name__ == "__main__":
    main()
