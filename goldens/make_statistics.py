#!/usr/bin/env python3
"""Writes goldens/statistics: what NumPy says of the colours of some of goldens/pixels.

The images' shorter side is 31 pixels, so that at that size nothing is resized. Of all their pixels: means, deviations,
principal components. Of their central squares, pixel by pixel: the mean, as little-endian f32 (31, 31, 3). Needs
Pillow and NumPy.

    python goldens/make_statistics.py
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
SIDE = 31
IMAGES = ["rgb.png", "palette.png", "grey.png", "alpha.png"]


def centre(image):
    height, width = image.shape[:2]
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return image[top : top + SIDE, left : left + SIDE]


def main():
    images = [np.asarray(Image.open(HERE / "pixels" / name).convert("RGB")).astype(np.float64) for name in IMAGES]
    assert all(min(image.shape[:2]) == SIDE for image in images)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    variances, directions = np.linalg.eigh(np.cov(pixels, rowvar=False, bias=True))
    # Rows, the largest first; a component's sign is arbitrary: its largest part is positive.
    components = (directions * np.sqrt(variances)).T[::-1]
    components = [row * np.sign(row[np.abs(row).argmax()]) for row in components]
    out = HERE / "statistics"
    out.mkdir(exist_ok=True)
    found = {"images": IMAGES, "mean": pixels.mean(0).tolist(), "std": pixels.std(0).tolist()}
    found["components"] = [row.tolist() for row in components]
    (out / "statistics.json").write_text(json.dumps(found, indent=1) + "\n")
    np.mean([centre(image) for image in images], 0).astype("<f4").tofile(out / "mean-image.f32")


if __name__ == "__main__":
    main()
