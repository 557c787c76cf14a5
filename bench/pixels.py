#!/usr/bin/env python3
"""Compares pixels here with Pillow's and torchvision's on real photographs, and writes a record.

    cargo build --release -p alexnet-data --example pixels
    python bench/pixels.py DATA records/DATE-pixels

DATA is a folder of JPEG files, at any depth. 200 of them, evenly spread over their sorted names, are taken as they
are, and some of them stored by Pillow in every other way: subsampled otherwise, progressive, optimised, grey, CMYK,
YCCK, with restart markers, in odd sizes. Compared are the decoded pixels, and the same resized and cropped; and, to
tell the decoder's share, Pillow's decoded pixels (as PNG) resized and cropped here.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import compare
import numpy as np
from PIL import Image, features
from torchvision.transforms import functional

HERE = Path(__file__).resolve().parent
RESIZE, CROP = 256, 224
PHOTOGRAPHS, STORED_ANEW = 200, 24
# Each way of storing: name, mode, Pillow's options.
WAYS = [
    ("4:4:4", "RGB", {"subsampling": "4:4:4"}),
    ("4:2:2", "RGB", {"subsampling": "4:2:2"}),
    ("4:2:0", "RGB", {"subsampling": "4:2:0"}),
    ("4:4:0", "RGB", {"subsampling": "4:4:0"}),
    ("progressive 4:2:0", "RGB", {"subsampling": "4:2:0", "progressive": True}),
    ("progressive 4:4:4", "RGB", {"subsampling": "4:4:4", "progressive": True}),
    ("optimised, quality 100", "RGB", {"quality": 100, "optimize": True}),
    ("quality 10", "RGB", {"quality": 10}),
    ("restart markers", "RGB", {"restart_marker_blocks": 5}),
    ("RGB, not YCbCr", "RGB", {"keep_rgb": True}),
    ("grey", "L", {}),
    ("grey, progressive", "L", {"progressive": True}),
    ("CMYK", "CMYK", {}),
    ("CMYK, progressive", "CMYK", {"progressive": True}),
    ("YCCK", "CMYK", {"ycck": True}),
]


def h2v1_transposed(path):
    """4:4:0 is 4:2:2 turned: Pillow cannot write it, so the factors of 4:2:2 change places in the header.

    The same blocks in the same order then make another picture, which is as good to compare.
    """
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    assert data[frame + 11] == 0x21, "4:2:2"
    data[frame + 11] = 0x12
    height, width = data[frame + 5 : frame + 7], data[frame + 7 : frame + 9]
    data[frame + 5 : frame + 7], data[frame + 7 : frame + 9] = width, height
    path.write_bytes(bytes(data))


def marked_ycck(path):
    """Adobe's marker says that the four colours are YCCK: Pillow writes them plain, which is the same bytes."""
    data = bytearray(path.read_bytes())
    adobe = data.index(b"Adobe")
    data[adobe + 11] = 2
    path.write_bytes(bytes(data))


def stored(photographs, folder):
    """The photographs as they are, then some of them in every other way, whole or cut to odd sizes."""
    cases = [("as they are", path) for path in photographs]
    sizes = [(1, 1), (7, 5), (16, 17), (33, 31), (255, 254), None]
    for way, mode, options in WAYS:
        options = dict(options)
        ycck = options.pop("ycck", False)
        for index, path in enumerate(photographs[:: len(photographs) // STORED_ANEW][:STORED_ANEW]):
            image = Image.open(path).convert(mode)
            size = sizes[index % len(sizes)]
            if size:
                left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 3
                image = image.crop((left, top, left + size[0], top + size[1]))
            turned = options.get("subsampling") == "4:4:0"
            if turned:
                # Whole blocks, so that turned they are as many.
                image = image.crop((0, 0, max(image.width // 16 * 16, 16), max(image.height // 16 * 16, 16)))
            target = folder / f"{len(cases)}.jpg"
            image.save(target, **{"quality": 85, **options, **({"subsampling": "4:2:2"} if turned else {})})
            if turned:
                h2v1_transposed(target)
            if ycck:
                marked_ycck(target)
            cases.append((way, target))
    return cases


def ours(program, out, paths):
    """Decoded pixels, and resized and cropped ones, of each path."""
    out.mkdir()
    subprocess.run([str(word) for word in [program, out, RESIZE, CROP, *paths]], check=True)
    read = lambda index, kind: np.fromfile(out / f"{index}.{kind}", np.uint8)
    return [(read(index, "rgb"), read(index, "crop")) for index in range(len(paths))]


def cropped(image):
    return np.asarray(functional.center_crop(functional.resize(image, RESIZE), CROP))


class Differences:
    """Of pixels, which differ as much as their most differing colour."""

    def __init__(self):
        self.counts = np.zeros(256, np.int64)

    def add(self, own, others):
        difference = np.abs(own.astype(int).reshape(-1, 3) - others.astype(int).reshape(-1, 3)).max(1)
        self.counts += np.bincount(difference, minlength=256)

    def figures(self):
        pixels = int(self.counts.sum())
        largest = int(np.flatnonzero(self.counts).max())
        return {"pixels": pixels, "equal": int(self.counts[0]) / pixels, "within_1": int(self.counts[:2].sum()) / pixels, "largest": largest}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("record", type=Path, help="folder to write")
    parser.add_argument("--program", default=HERE.parent / "target/release/examples/pixels")
    given = parser.parse_args()
    files = sorted(path for path in given.data.rglob("*.jp*g"))
    photographs = files[:: len(files) // PHOTOGRAPHS][:PHOTOGRAPHS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = stored(photographs, folder)
        images = [Image.open(path).convert("RGB") for _, path in cases]
        for index, image in enumerate(images):
            image.save(folder / f"{index}.png", compress_level=0)
        own = ours(given.program, folder / "jpeg", [path for _, path in cases])
        pngs = ours(given.program, folder / "png", [folder / f"{index}.png" for index in range(len(cases))])
    kinds = {}
    for (way, _), image, (decoded, resized), (_, resized_alone) in zip(cases, images, own, pngs):
        found = kinds.setdefault(way, [0, *(Differences() for _ in range(3))])
        found[0] += 1
        theirs = cropped(image)
        for differences, one, other in zip(found[1:], (decoded, resized, resized_alone), (np.asarray(image), theirs, theirs)):
            differences.add(one, other)
    write(given, kinds)


def write(given, kinds):
    given.parts, given.rounds, given.seconds = [], 1, 0
    machine = compare.machine(given)
    given.record.mkdir(parents=True, exist_ok=True)
    text = ["# Pixels here, in Pillow and in torchvision\n"]
    text.append(f"    python bench/pixels.py DATA records/{given.record.name}\n")
    turbo = features.version("libjpeg_turbo")
    text.append(f"Commit {machine['commit']}, {machine['date']}; Pillow {Image.__version__} with libjpeg-turbo {turbo}; {machine['processor']}.")
    text.append(f"{PHOTOGRAPHS} photographs as they are, and {STORED_ANEW} of them stored in every other way, most cut to odd sizes.")
    text.append(f"A pixel differs by as much as its most differing colour. Resized: shorter side to {RESIZE}, the central {CROP} x {CROP}.\n")
    text.append("| stored | files | decoded: equal | within 1 | largest | resized: equal | within 1 | largest | Pillow's pixels resized here: equal | within 1 | largest |")
    text.append("| --- |" + " --- |" * 10)
    with (given.record / "results.jsonl").open("w") as file:
        for way, (count, *differences) in kinds.items():
            figures = [one.figures() for one in differences]
            named = dict(zip(("decoded", "resized", "resized_alone"), figures))
            file.write(json.dumps({"stored": way, "files": count, **named}) + "\n")
            cells = [f"{100 * one['equal']:.3f} % | {100 * one['within_1']:.3f} % | {one['largest']}" for one in figures]
            text.append(f"| {way} | {count} | {' | '.join(cells)} |")
    readme = given.record / "README.md"
    kept = readme.read_text().split("\n## Remarks\n")[1:] if readme.exists() else []
    readme.write_text("\n".join([*text, *("\n## Remarks\n" + part.rstrip("\n") for part in kept)]) + "\n")


if __name__ == "__main__":
    main()
