#!/usr/bin/env python3
"""Runs ONNX files that this program wrote in ONNX Runtime and OpenVINO, and compares with our own outputs.

Each NAME.onnx of a folder has a NAME.safetensors beside it: `images` (N, 3, S, S), and `output` (N, classes), which
the reference computed. Each file must pass onnx.checker; each runtime must give `output` for the first image and for
all, the largest difference at most 1e-4 of the largest magnitude. Needs onnx, onnxruntime, openvino and safetensors.

    ALEXNET_ONNX_OUT=/tmp/onnx cargo test --release -p alexnet-weights files_for_other_runtimes
    python goldens/check_onnx.py /tmp/onnx
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
from safetensors.numpy import load_file

TOLERANCE = 1e-4


def by_onnxruntime(path):
    """images -> output."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def by_openvino(path):
    """images -> output. At f32: some processors' default is bf16."""
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: model({"images": images})[0]


def check(path):
    """The largest difference of each runtime and batch, as shares."""
    onnx.checker.check_model(str(path), full_check=True)
    case = load_file(path.with_suffix(".safetensors"))
    images, output = case["images"], case["output"]
    differences = []
    for run in by_onnxruntime(path), by_openvino(path):
        for count in 1, len(images):
            found, wanted = run(images[:count]), output[:count]
            if found.shape != wanted.shape or not np.isfinite(found).all():
                sys.exit(f"{path}: {found.shape} where {wanted.shape} should be, or not finite")
            differences.append(float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    return differences


if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).glob("*.onnx"))
    if not paths:
        sys.exit(f"{sys.argv[1]} holds no .onnx files")
    print(f"{'':34} {'ONNX Runtime':>21} {'OpenVINO':>21}\n{'':34} {'1':>10} {'all':>10} {'1':>10} {'all':>10}")
    worst = 0
    for path in paths:
        differences = check(path)
        worst = max(worst, *differences)
        print(f"{path.stem:34} " + " ".join(f"{difference:10.1e}" for difference in differences), flush=True)
    if worst > TOLERANCE:
        sys.exit(f"the largest difference is {worst:.1e}, over {TOLERANCE:.0e}")
    print(f"{len(paths)} files, largest difference {worst:.1e}")
