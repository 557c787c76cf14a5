#!/usr/bin/env python3
"""Writes goldens/pixels: tiny images of every kind, and what Pillow makes of them.

The images are drawn here from formulas. For each one the decoded pixels, and for some sizes the
resized and centre-cropped ones, are stored as raw (height, width, 3) bytes. Needs Pillow, NumPy
and torchvision.

    python goldens/make_pixels.py
"""

from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.transforms import functional

OUT = Path(__file__).parent / "pixels"
WIDTH, HEIGHT = 41, 31
# (image, resize, crop): landscape and portrait, shrunk and enlarged, odd differences.
CROPS = [
    ("rgb.png", 24, 20), ("rgb.png", 28, 23), ("rgb.png", 31, 31), ("rgb.png", 48, 41),
    ("portrait.png", 24, 20), ("portrait.png", 37, 30), ("portrait.png", 50, 41),
    ("wide.png", 16, 16), ("baseline.jpg", 24, 20),
]


def scene(width=WIDTH, height=HEIGHT):
    """A colourful gradient with a disc and fine stripes: (height, width, 3)."""
    y, x = np.mgrid[:height, :width].astype(float)
    red = 255 * x / (width - 1)
    green = 128 + 100 * np.sin(x / 4) * np.cos(y / 7)
    blue = np.where((x - width / 2) ** 2 + (y - height / 3) ** 2 < 120, 230, 255 * y / height)
    return np.stack([red, green, blue], 2).clip(0, 255).astype(np.uint8)


def with_alpha(rgb):
    alpha = np.linspace(0, 255, rgb.shape[1]).astype(np.uint8)
    return np.dstack([rgb, np.broadcast_to(alpha, rgb.shape[:2])])


def with_black(rgb):
    """CMYK that uses all four inks."""
    cyan, magenta, yellow, _ = rgb.convert("CMYK").split()
    black = rgb.convert("L").point(lambda level: (255 - level) // 2)
    return Image.merge("CMYK", (cyan, magenta, yellow, black))


def as_ycck(cmyk_jpeg):
    """Says that a CMYK JPEG's first three components are YCbCr: Adobe's transform 2."""
    start = cmyk_jpeg.index(b"Adobe") + len(b"Adobe") + 6
    return cmyk_jpeg[:start] + b"\x02" + cmyk_jpeg[start + 1 :]


def write_images():
    rgb = Image.fromarray(scene())
    grey = rgb.convert("L")
    wide_grey = np.linspace(0, 700, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: to be turned by a quarter, which nobody here does

    rgb.save(OUT / "rgb.png")
    Image.fromarray(scene(37, 50)).save(OUT / "portrait.png")
    Image.fromarray(scene(160, 17)).save(OUT / "wide.png")
    grey.save(OUT / "grey.png")
    rgb.convert("1").save(OUT / "one-bit.png")
    rgb.quantize(23).save(OUT / "palette.png")
    rgb.quantize(23).save(OUT / "palette-transparent.png", transparency=3)
    Image.fromarray(with_alpha(scene())).save(OUT / "alpha.png")
    Image.fromarray(with_alpha(scene())).convert("LA").save(OUT / "grey-alpha.png")
    Image.fromarray(wide_grey).save(OUT / "sixteen-bit-grey.png")

    rgb.save(OUT / "baseline.jpg", quality=90, subsampling=0)
    rgb.save(OUT / "subsampled.jpg", quality=90, subsampling=2)
    rgb.save(OUT / "progressive.jpg", quality=90, subsampling=0, progressive=True)
    rgb.save(OUT / "exif-turned.jpg", quality=90, subsampling=0, exif=turned)
    grey.save(OUT / "grey.jpg", quality=90)
    with_black(rgb).save(OUT / "cmyk.jpg", quality=90)
    (OUT / "ycck.jpg").write_bytes(as_ycck((OUT / "cmyk.jpg").read_bytes()))


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    write_images()
    images = sorted(path.name for path in OUT.iterdir())
    for name in images:
        (OUT / f"{name}.rgb").write_bytes(Image.open(OUT / name).convert("RGB").tobytes())
    for name, resize, crop in CROPS:
        image = functional.resize(Image.open(OUT / name).convert("RGB"), resize)
        pixels = functional.center_crop(image, crop).tobytes()
        (OUT / f"{name}.{resize}-{crop}.rgb").write_bytes(pixels)


if __name__ == "__main__":
    main()
