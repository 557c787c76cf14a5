"""The networks of `alexnet` in PyTorch, layer by layer the same: `modern`, `paper` and `torchvision`."""

import math

import torchvision
from torch import nn

MODERN_MAPS = [(96, 11, 4, 2), (256, 5, 1, 2), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1)]
MODERN_POOLED = {0, 1, 4}


def scaled(full, width):
    return max(8, math.floor(full * width / 8 + 0.5) * 8)


def modern(classes=1000, width=1.0, batch_norm=True, pooled_side=None):
    """Dropout before fc6 and fc7. `pooled_side`: what is left of the image, if known; 6 needs no average pooling."""
    layers, channels = [], 3
    for index, (maps, kernel, stride, pad) in enumerate(MODERN_MAPS):
        maps = scaled(maps, width)
        normalise = [nn.BatchNorm2d(maps)] if batch_norm else []
        layers += [nn.Conv2d(channels, maps, kernel, stride, pad), *normalise, nn.ReLU(True)]
        if index in MODERN_POOLED:
            layers.append(nn.MaxPool2d(3, 2))
        channels = maps
    hidden = scaled(4096, width)
    layers += [] if pooled_side == 6 else [nn.AdaptiveAvgPool2d(6)]
    layers += [nn.Flatten()]
    layers += [nn.Dropout(), nn.Linear(channels * 36, hidden), nn.ReLU(True)]
    layers += [nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(True), nn.Linear(hidden, classes)]
    model = nn.Sequential(*layers)
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.zeros_(layer.bias)
    return model


TORCHVISION_MAPS = [(64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)]


def torchvision_alexnet(classes=1000, width=1.0):
    """torchvision's own at any width, with PyTorch's initial values."""
    layers, channels = [], 3
    for index, (maps, kernel, stride, pad) in enumerate(TORCHVISION_MAPS):
        maps = scaled(maps, width)
        layers += [nn.Conv2d(channels, maps, kernel, stride, pad), nn.ReLU(True)]
        if index in MODERN_POOLED:
            layers.append(nn.MaxPool2d(3, 2))
        channels = maps
    hidden = scaled(4096, width)
    layers += [nn.AdaptiveAvgPool2d(6), nn.Flatten()]
    layers += [nn.Dropout(), nn.Linear(channels * 36, hidden), nn.ReLU(True)]
    layers += [nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(True), nn.Linear(hidden, classes)]
    return nn.Sequential(*layers)


def paper(classes=1000):
    """The paper's two towers as groups. Its normalisation stops at the towers' border, PyTorch's does not: the work is
    the same. PyTorch divides alpha by the window."""

    def convolution(inputs, maps, kernel, stride, pad, groups):
        return [nn.Conv2d(inputs, maps, kernel, stride, pad, groups=groups), nn.ReLU(True)]

    def normalised_and_pooled():
        return [nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), nn.MaxPool2d(3, 2)]

    def hidden(inputs):
        return [nn.Linear(inputs, 4096), nn.ReLU(True), nn.Dropout()]

    return nn.Sequential(
        *convolution(3, 96, 11, 4, 0, 1), *normalised_and_pooled(),
        *convolution(96, 256, 5, 1, 2, 2), *normalised_and_pooled(),
        *convolution(256, 384, 3, 1, 1, 1),
        *convolution(384, 384, 3, 1, 1, 2),
        *convolution(384, 256, 3, 1, 1, 2), nn.MaxPool2d(3, 2),
        nn.Flatten(), *hidden(9216), *hidden(4096), nn.Linear(4096, classes),
    )  # fmt: skip


def by_name(name, width, image_size):
    """The network that `alexnet bench` times: 1000 classes, no batch normalisation."""
    if name == "modern":
        side = {224: 6, 231: 6}.get(image_size)
        return modern(1000, width, batch_norm=False, pooled_side=side)
    if name == "torchvision":
        model = torchvision.models.alexnet(num_classes=1000)
        if image_size == 224:
            model.avgpool = nn.Identity()  # from 6 x 6 to 6 x 6
        return model
    return {"paper": paper}[name]()
