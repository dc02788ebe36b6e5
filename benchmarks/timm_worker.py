"""Time timm's EfficientNet-B0: one request a line, one answer a line.

Needs torch, timm and numpy only, and runs in an environment of its own; see
`model_step`. A request is JSON: `kind` (train or inference), `images` (path of
a .npy, uint8 [batch, height, width, 3]), `labels` (path of a .npy, int64
[batch]), `num_classes`, `small_image_strides`, `channels_last`, `clock` (wall
or processor), `steps`. The answer is the seconds that all steps took.
"""

import functools
import json
import sys
import time

import numpy as np
import peer_torchvision
import torch

SCHEMAS = peer_torchvision.import_torchvision()

import timm  # noqa: E402  Imports torchvision.

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@functools.cache
def make_model(case, num_classes, small_image_strides, channels_last):
    del case  # A model each.
    model = timm.create_model(
        "efficientnet_b0",
        num_classes=num_classes,
        drop_rate=0.2,
        drop_path_rate=0.2,
    )
    if small_image_strides:
        for stage in (1, 2):
            model.blocks[stage][0].conv_dw.stride = (1, 1)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.RMSprop(
        model.parameters(), lr=1e-4, alpha=0.9, momentum=0.9, eps=1e-3
    )
    return model, optimizer


@functools.cache
def load(images, labels, channels_last):
    pixels = torch.from_numpy(np.load(images)).permute(0, 3, 1, 2)
    pixels = ((pixels.float() / 255 - MEAN) / STD).contiguous()
    if channels_last:
        pixels = pixels.to(memory_format=torch.channels_last)
    return pixels, torch.from_numpy(np.load(labels))


def train(model, optimizer, images, labels, steps):
    model.train()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    return loss.item()


def infer(model, images, steps):
    model.eval()
    with torch.inference_mode():
        for _ in range(steps):
            logits = model(images)
    return logits.sum().item()


def main():
    for line in sys.stdin:
        request = json.loads(line)
        channels_last = request["channels_last"]
        model, optimizer = make_model(
            request["images"],
            request["num_classes"],
            request["small_image_strides"],
            channels_last,
        )
        images, labels = load(
            request["images"], request["labels"], channels_last
        )
        is_wall = request["clock"] == "wall"
        clock = time.perf_counter if is_wall else time.process_time
        started = clock()
        if request["kind"] == "train":
            train(model, optimizer, images, labels, request["steps"])
        else:
            infer(model, images, request["steps"])
        print(clock() - started, flush=True)


if __name__ == "__main__":
    main()
