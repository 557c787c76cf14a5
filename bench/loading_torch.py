#!/usr/bin/env python3
"""Times PyTorch's data loader on a folder of images, in one of its forms; prints a JSON object.

    python bench/loading_torch.py pillow DATA --workers 2

DATA holds train/. Decode, RandomResizedCrop, flip, normalise, batch of f32: the work of `alexnet bench data`. Forms:
`pillow` is torchvision's classic transforms on Pillow images; `decode_jpeg` is torchvision's own decoder and the v2
transforms on tensors of bytes; `ffcv` and `dali` are those libraries, where they are installed.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def torch_loader(asked, decode, steps):
    """An endless stream of batches from torchvision's folder and PyTorch's loader."""
    import torch
    from torchvision import datasets

    # The workers do the work; more threads in each would only be in each other's way.
    torch.set_num_threads(1)
    images = datasets.ImageFolder(asked.data / "train", steps, loader=decode)
    workers = asked.workers
    loader = torch.utils.data.DataLoader(
        images, asked.batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        yield from (batch for batch, _ in loader)


def pillow(asked):
    from PIL import Image
    from torchvision import transforms

    def decode(path):
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")

    steps = [transforms.RandomResizedCrop(asked.image_size), transforms.RandomHorizontalFlip()]
    steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return torch_loader(asked, decode, transforms.Compose(steps))


def decode_jpeg(asked):
    import torch
    from torchvision import io
    from torchvision.transforms import v2

    def decode(path):
        return io.decode_jpeg(io.read_file(path), mode=io.ImageReadMode.RGB)

    steps = [v2.RandomResizedCrop(asked.image_size, antialias=True), v2.RandomHorizontalFlip()]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return torch_loader(asked, decode, v2.Compose(steps))


def ffcv(asked):
    """FFCV from its own file, of bare pixels with the shorter side as asked for."""
    import numpy
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter
    from torchvision import datasets

    size = asked.image_size
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/set.beton"
        fields = {"image": RGBImageField(write_mode="raw", max_resolution=asked.resize_size), "label": IntField()}
        DatasetWriter(path, fields, num_workers=2).from_indexed_dataset(datasets.ImageFolder(asked.data / "train"))
        levels = [numpy.array(values) * 255 for values in (MEAN, STD)]
        steps = [RandomResizedCropRGBImageDecoder((size, size)), RandomHorizontalFlip()]
        steps += [NormalizeImage(*levels, numpy.float32), ToTensor(), ToTorchImage()]
        loader = Loader(
            path, asked.batch_size, num_workers=max(asked.workers, 1), order=OrderOption.RANDOM, drop_last=True,
            pipelines={"image": steps, "label": None},
        )  # fmt: skip
        while True:
            yield from (batch for batch, *_ in loader)


def dali(asked):
    from nvidia.dali import fn, pipeline_def, types

    size = asked.image_size

    @pipeline_def(batch_size=asked.batch_size, num_threads=max(asked.workers, 1), device_id=None)
    def images():
        files, _ = fn.readers.file(file_root=str(asked.data / "train"), random_shuffle=True)
        pixels = fn.decoders.image_random_crop(files, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3])
        pixels = fn.resize(pixels, size=[size, size], interp_type=types.INTERP_LINEAR, antialias=True)
        levels = {"mean": [255 * level for level in MEAN], "std": [255 * level for level in STD]}
        mirror = fn.random.coin_flip()
        return fn.crop_mirror_normalize(pixels, mirror=mirror, dtype=types.FLOAT, output_layout="CHW", **levels)

    pipe = images()
    pipe.build()
    while True:
        yield pipe.run()[0].as_tensor()


FORMS = {"pillow": pillow, "decode_jpeg": decode_jpeg, "ffcv": ffcv, "dali": dali}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--resize-size", type=int, default=256, help="of images stored as bare pixels (ffcv)")
    parser.add_argument("--warmup-steps", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20)
    return parser.parse_args()


def main():
    asked = arguments()
    batches = FORMS[asked.form](asked)
    for _ in range(asked.warmup_steps):
        next(batches)
    times = []
    for _ in range(asked.steps):
        begin = time.perf_counter()
        next(batches)
        times.append(time.perf_counter() - begin)
    told = {"steps": asked.steps, "median_ms": 1e3 * statistics.median(times)}
    # Batches are made ahead, so single waits say little: the rate is over all of them.
    told["images_per_s"] = asked.batch_size * len(times) / sum(times)
    print(json.dumps({"form": asked.form, "workers": asked.workers, **told}))


if __name__ == "__main__":
    main()
