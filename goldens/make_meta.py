#!/usr/bin/env python3
"""Writes goldens/meta: the devkit's meta.mat in small, as SciPy writes MATLAB files.

Its synsets are those of crates/data/tests/ilsvrc.rs. Needs SciPy and NumPy.

    python goldens/make_meta.py
"""

from pathlib import Path

import numpy as np
from scipy.io import savemat

OUT = Path(__file__).parent / "meta"
# (wnid, words, children, training images): id i is the i-th; those with children are no classes.
SYNSETS = [
    ("n02119789", "kit fox, Vulpes macrotis", [], 2),
    ("n04152593", "screen, CRT screen", [], 1),
    ("n01440764", "tench, Tinca tinca", [], 3),
    ("n03126707", "crane", [], 1),
    ("n00001740", "entity", [1, 6], 0),
    ("n00015388", "animal, naïve façade", [2, 3, 4], 0),
]
FIELDS = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children",
          "wordnet_height", "num_train_images"]


def synsets():
    """The struct array, (synsets, 1), numbers as doubles."""
    records = np.zeros((len(SYNSETS), 1), dtype=[(name, object) for name in FIELDS])
    for index, (wnid, words, children, images) in enumerate(SYNSETS):
        height = float(len(children) > 0)
        records[index, 0] = (float(index + 1), wnid, words, "what it is", float(len(children)),
                             np.array([children], float), height, float(images))
    return records


OUT.mkdir(exist_ok=True)
for name, packed in [("packed.mat", True), ("plain.mat", False)]:
    savemat(OUT / name, {"synsets": synsets()}, do_compression=packed)
    # The header says when it was written: left out, the same versions write the same bytes.
    body = (OUT / name).read_bytes()[116:]
    (OUT / name).write_bytes(b"MATLAB 5.0 MAT-file, written by SciPy".ljust(116) + body)
