"""Writes caffe/: small nets and a mean image as Caffe writes them, and what PyTorch computes with them.

Run `python goldens/make_caffe.py`.  The bytes are laid out here from the public schema
(BVLC/caffe, src/caffe/proto/caffe.proto) and protobuf's encoding guide; nothing is taken from the
Rust writer, which README.md says is compared with them.  Kernels and mean image are in Caffe's own
order of colours, blue, green, red, and so is what PyTorch is shown.
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch

from common import uniform
from make_networks import caffe, caffenet

FOLDER = Path(__file__).with_name("caffe")
# All convolutions have 8 maps, fc6 and fc7 40 units.
WIDTH = 0.01
CLASSES = 5
IMAGES = 2
FIRST_PARAMETER_SALT = 300
IMAGE_SALT, MEAN_SALT = 400, 401
# ILSVRC-2012's mean levels of blue, green and red (caffe/imagenet/ilsvrc_2012_mean.npy).
MEAN_LEVELS = [104.00699, 116.66877, 122.67892]

# Two sizes: Caffe's own, and one where pooling's rounding up makes a difference at every layer.
FULL = dict(side=256, crop=227)
SMALL = dict(side=81, crop=71)
CASES = [
    dict(name="caffe", model=caffe, form="layer", mean_image=False, **FULL),
    dict(name="caffenet", model=caffenet, form="layer", mean_image=True, **SMALL),
    dict(name="caffenet-2014", model=caffenet, form="layers", mean_image=True, **SMALL),
]


def varint(value):
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def number(field, value):
    return varint(field << 3) + varint(value)


def single(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def delimited(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def floats(values):
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def blob(values, old):
    """BlobProto: shape = 7 { dim = 1, packed }, or num, channels, height, width = 1 to 4; data = 5."""
    if not old:
        shape = delimited(1, b"".join(map(varint, values.shape)))
        return delimited(7, shape) + delimited(5, floats(values))
    sizes = [1] * (4 - values.ndim) + list(values.shape)
    sizes = b"".join(number(field, size) for field, size in enumerate(sizes, start=1))
    return sizes + delimited(5, floats(values))


# Of LayerParameter and V1LayerParameter: name, type, bottom, top, blobs, and each kind's settings.
NEW = dict(
    name=1, type=2, bottom=3, top=4, blobs=7, transform=100,
    Convolution=106, InnerProduct=117, LRN=118, Pooling=121, Dropout=108, ReLU=123,
)
OLD = dict(
    name=4, type=5, bottom=2, top=3, blobs=6, transform=36,
    Convolution=10, InnerProduct=17, LRN=18, Pooling=19, Dropout=12, ReLU=30,
)
OLD_TYPES = dict(
    Convolution=4, Data=5, Dropout=6, InnerProduct=14, LRN=15, Pooling=17, ReLU=18, SoftmaxWithLoss=21,
)


def layer(fields, name, kind, bottoms, tops, blobs=(), settings=None):
    old = fields is OLD
    parts = [delimited(fields["bottom"], bottom) for bottom in bottoms]
    parts += [delimited(fields["top"], top) for top in tops]
    parts += [delimited(fields["name"], name)]
    kind_field = fields["type"]
    parts += [number(kind_field, OLD_TYPES[kind]) if old else delimited(kind_field, kind)]
    parts += [delimited(fields["blobs"], blob(values, old)) for values in blobs]
    if settings is not None:
        parts += [delimited(fields[kind], settings)]
    return b"".join(parts)


def settings_of(kind, module):
    """The message that says what a PyTorch module's sizes are."""
    if kind == "Convolution":
        sizes = number(1, module.out_channels) + number(3, module.padding[0])
        sizes += number(4, module.kernel_size[0]) + number(6, module.stride[0])
        return sizes + (number(5, module.groups) if module.groups > 1 else b"")
    if kind == "InnerProduct":
        return number(1, module.out_features)
    if kind == "LRN":
        of = module.constants
        return number(1, of["size"]) + single(2, of["alpha"] * of["size"]) + single(3, of["beta"])
    if kind == "Pooling":
        return number(1, 0) + number(2, module.kernel_size) + number(3, module.stride)
    if kind == "Dropout":
        return single(1, 0.5)
    return None


KINDS = dict(conv="Convolution", fc="InnerProduct", relu="ReLU", lrn="LRN", pool="Pooling", drop="Dropout")


def net(case, layers, arrays):
    """NetParameter: name = 1, layers = 2 or layer = 100, with the data layer and loss of training."""
    old = case["form"] == "layers"
    fields, net_field = (OLD, 2) if old else (NEW, 100)
    message = delimited(1, "AlexNet" if case["model"] is caffe else "CaffeNet")
    if old:
        data = layer(fields, "data", "Data", [], ["data", "label"])
        data += delimited(fields["transform"], number(2, 1) + number(3, case["crop"]))
    else:
        data = layer(fields, "data", "Input", [], ["data"])
        shape = b"".join(map(varint, [10, 3, case["crop"], case["crop"]]))
        data += delimited(143, delimited(1, delimited(1, shape)))
    message += delimited(net_field, data)
    top = "data"
    for name, module in layers:
        stem = name.rstrip("0123456789")
        if stem not in KINDS:
            continue
        kind = KINDS[stem]
        # A net that was tuned to other classes has its last layer under another name.
        name = "fc8_flickr" if name == "fc8" and old else name
        next_top = top if kind in ("ReLU", "Dropout") else name
        blobs = arrays.pop(0) if kind in ("Convolution", "InnerProduct") else ()
        settings = settings_of(kind, module)
        message += delimited(net_field, layer(fields, name, kind, [top], [next_top], blobs, settings))
        top = next_top
    last = layer(fields, "loss", "SoftmaxWithLoss", [top, "label"], ["loss"]) if old else layer(
        fields, "prob", "Softmax", [top], ["prob"]
    )
    return message + delimited(net_field, last)


def levels(shape, salt):
    """Whole levels from 0 to 255."""
    return np.floor(uniform(shape, salt, scale=128.0, offset=128.0))


def mean_image(side):
    """(3, side, side), blue, green, red."""
    return uniform((3, side, side), MEAN_SALT, scale=20.0, offset=110.0)


def sequential(case):
    """The network at the case's size: fc6 has as many columns as are left of the image."""
    layers = case["model"](WIDTH, CLASSES)
    convolutions = [module for name, module in layers[: [n for n, _ in layers].index("flatten")]]
    left = torch.nn.Sequential(*convolutions)(torch.zeros(1, 3, case["crop"], case["crop"]))
    columns = left[0].numel()
    return [
        (name, torch.nn.Linear(columns, module.out_features) if name == "fc6" else module)
        for name, module in layers
    ]


def fill(layers):
    """Weights and biases of every layer that learns, by formula, as pairs of arrays."""
    pairs, salt = [], FIRST_PARAMETER_SALT
    for _, module in layers:
        if not hasattr(module, "weight"):
            continue
        shape = tuple(module.weight.shape)
        bound = float(np.sqrt(6 / np.prod(shape[1:])))
        weight, bias = uniform(shape, salt, bound), uniform(shape[:1], salt + 1, 1.0)
        module.weight.data, module.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
        pairs.append((weight, bias))
        salt += 2
    return pairs


def logits(case, layers):
    """Of the middle of images of whole levels, (N, side, side, 3), red, green, blue."""
    side, crop = case["side"], case["crop"]
    start = (side - crop) // 2
    place = (..., slice(start, start + crop), slice(start, start + crop))
    images = levels((IMAGES, side, side, 3), IMAGE_SALT).astype(np.float64)
    images = images[..., ::-1].transpose(0, 3, 1, 2)
    if case["mean_image"]:
        mean = mean_image(side).astype(np.float64)[place]
    else:
        mean = np.array(MEAN_LEVELS).reshape(3, 1, 1)
    batch = torch.from_numpy(images[place] - mean)
    model = torch.nn.Sequential(*[module for _, module in layers]).double().eval()
    with torch.no_grad():
        return model(batch).tolist()


def main():
    FOLDER.mkdir(exist_ok=True)
    results = {}
    for case in CASES:
        layers = sequential(case)
        pairs = fill(layers)
        (FOLDER / f"{case['name']}.caffemodel").write_bytes(net(case, layers, pairs))
        results[case["name"]] = logits(case, layers)
    (FOLDER / "mean.binaryproto").write_bytes(blob(mean_image(SMALL["side"]), old=True))
    (FOLDER / "logits.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
