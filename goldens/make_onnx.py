#!/usr/bin/env python3
"""Writes onnx/: small networks as PyTorch exports them, with logits, for the reader of ONNX files.

`legacy.onnx` is Caffe's network in small (towers, normalisation across maps, sizes rounded up) by the older exporter,
with any number of images; `dynamo.onnx` is torchvision's in small, with batch normalisation, by the newer one;
`dynamo_parts.onnx` is Caffe's by the newer one, which writes normalisation across maps in parts.
Logits are of two images, salts 1 and 2 of common.uniform, in [-128, 128), of torchvision's in [-2, 2).
"""

import warnings
from pathlib import Path

import onnx
import torch
from common import uniform
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent / "onnx"


class Lrn(torch.autograd.Function):
    """Across five maps; as one operator, where PyTorch's own exporter writes fifty."""

    @staticmethod
    def forward(_, x):
        return nn.functional.local_response_norm(x, 5, 1e-4, 0.75, 1.0)

    @staticmethod
    def symbolic(graph, x):
        return graph.op("LRN", x, size_i=5, alpha_f=1e-4, beta_f=0.75, bias_f=1.0)


class Normalised(nn.Module):
    def forward(self, x):
        return Lrn.apply(x)


def caffe(lrn):
    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *(nn.Conv2d(3, 8, 11, 4), nn.ReLU(), lrn(), pool()),
        *(nn.Conv2d(8, 16, 5, padding=2, groups=2), nn.ReLU(), lrn(), pool()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(16, 8, 3, padding=1, groups=2), nn.ReLU(), pool()),
        *(nn.Flatten(), nn.Linear(288, 24), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(24, 16), nn.ReLU(), nn.Dropout()),
        nn.Linear(16, 10),
    )


class Torchvision(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 11, 4, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(8, 16, 5, padding=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(288, 24), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(24, 16), nn.ReLU()),
            nn.Linear(16, 10),
        )

    def forward(self, images):
        return self.classifier(torch.flatten(self.avgpool(self.features(images)), 1))


def fill(model):
    """Every parameter and statistic by its place."""
    for salt, (name, value) in enumerate(model.state_dict().items(), 100):
        if value.dim() > 1:
            scale, offset = (6 / value[0].numel()) ** 0.5, 0
        else:
            scale, offset = 0.5, float(not name.endswith("bias"))
        if value.is_floating_point():
            value.copy_(torch.from_numpy(uniform(tuple(value.shape), salt, scale, offset)))
    return model.eval()


def make(name, model, side, scale, **options):
    model = fill(model)
    images = torch.from_numpy(uniform((3, side, side), 1, scale)), torch.from_numpy(uniform((3, side, side), 2, scale))
    images = torch.stack(images)
    path = FOLDER / f"{name}.onnx"
    torch.onnx.export(model, (images[:1],), str(path), input_names=["images"], **options)
    # The newer exporter writes where on the disk each layer's code stood.
    exported = onnx.load(path)
    for node in exported.graph.node:
        del node.metadata_props[:]
    onnx.save(exported, path)
    with torch.no_grad():
        logits = model.double()(images.double()).float()
    save_file({"logits": logits}, FOLDER / f"{name}.safetensors")
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    FOLDER.mkdir(exist_ok=True)
    make("legacy", caffe(Normalised), 227, 128.0, dynamo=False, dynamic_axes={"images": {0: "N"}})
    make("dynamo", Torchvision(), 224, 2.0, dynamo=True, external_data=False)
    parts = caffe(lambda: nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0))
    make("dynamo_parts", parts, 227, 128.0, dynamo=True, external_data=False)
