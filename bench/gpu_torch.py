"""PyTorch's side of `gpu.py`: a process for one case, which answers each line on stdin with a line of JSON.

    printf 'about\nceilings\ncompile\nround\n' | python bench/gpu_torch.py train --batch-size 128

`about`: what runs where. `ceilings`: what the GPU does at most. `compile`: makes the step ready and says how long that
took. `round`: times the step. On a processor, which is for trying this out, nothing is compiled.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
import traceback

import torch
from torch._inductor import config as inductor
from torch.nn import functional as F

import networks

# The first steps compile, record CUDA graphs, and replay them.
FIRST_STEPS = 5
MIN_STEPS, MAX_STEPS = 3, 20_000
# Of the matrix product's side, and of the bytes copied.
PRODUCT_SIDE = {"cuda": 8192, "cpu": 1024}
COPIED_BYTES = {"cuda": 2**30, "cpu": 2**26}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["train", "infer"])
    parser.add_argument("--model", choices=["modern", "paper", "torchvision"], default="modern")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--gemm-backends", default="ATEN,TRITON", help="what may form matrix products")
    parser.add_argument("--conv-backends", default="ATEN,TRITON", help="what may form convolutions")
    parser.add_argument("--seconds", type=float, default=0.5, help="about, of a round")
    return parser.parse_args()


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def stretch(step, count, device):
    """Milliseconds a step, of many in a row."""
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(count):
        step()
    synchronize(device)
    return (time.perf_counter() - begin) * 1e3 / count


def train_step(model, images, labels):
    sgd = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4, fused=True)

    def step():
        sgd.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        sgd.step()
        return loss.detach()

    return step


def infer_step(model, images):
    @torch.inference_mode()
    def step():
        return model(images)

    return step


def made(given):
    """The step of a case. Weights and images are where they are computed on, before any clock starts."""
    order, training = torch.channels_last, given.task == "train"
    model = networks.by_name(given.model, given.width, given.image_size).train(training)
    model = model.to(given.device, torch.float32 if training else torch.bfloat16, memory_format=order)
    if given.device == "cuda":
        inductor.max_autotune_gemm_backends = given.gemm_backends
        inductor.max_autotune_conv_backends = given.conv_backends
        model = torch.compile(model, mode="max-autotune")
    images = torch.randn(given.batch_size, 3, given.image_size, given.image_size, device=given.device)
    images = images.contiguous(memory_format=order)
    if training:
        return train_step(model, images, torch.arange(given.batch_size, device=given.device) % 1000)
    return infer_step(model, images.bfloat16())


class Case:
    """A step and how many make a round."""

    def __init__(self, given):
        self.given, self.step, self.count = given, None, 0

    def compile(self):
        begin = time.perf_counter()
        self.step = made(self.given)
        for _ in range(FIRST_STEPS):
            result = self.step()
        if not torch.isfinite(result).all():
            raise ValueError("a loss or logit is not finite")
        seconds = time.perf_counter() - begin
        guess = stretch(self.step, FIRST_STEPS, self.given.device)
        self.count = min(max(round(self.given.seconds * 1e3 / guess), MIN_STEPS), MAX_STEPS)
        return {"compile_s": seconds, "steps": self.count}

    def round(self):
        """One stretch of steps; of one image the latencies, each of a call that is waited for."""
        device, stretches, count = self.given.device, 1, self.count
        if self.given.task == "infer" and self.given.batch_size == 1:
            stretches, count = self.count, 1
        stretch(self.step, max(FIRST_STEPS, self.count // 10), device)
        times = [stretch(self.step, count, device) for _ in range(stretches)]
        return {"median_ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times), "steps": self.count}


def ceilings(device):
    """The best of a few stretches each: bf16 products of random matrices, and a copy's bytes, read and written."""
    side, size = PRODUCT_SIDE[device], COPIED_BYTES[device]
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = min(stretch(lambda: a @ b, 10, device) for _ in range(5))
    source = torch.ones(size, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = min(stretch(lambda: target.copy_(source), 10, device) for _ in range(5))
    if device == "cuda":
        del a, b, source, target
        torch.cuda.empty_cache()
    return {"product_side": side, "product_tflops": 2 * side**3 / product / 1e9, "copy_gb_per_s": 2 * size / copy / 1e6}


def about(device):
    cudnn = torch.backends.cudnn.version() if device == "cuda" else None
    card = torch.cuda.get_device_name() if device == "cuda" else "a processor"
    try:
        tensorrt = importlib.import_module("tensorrt").__version__
    except ImportError:
        tensorrt = None
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": cudnn, "tensorrt": tensorrt}
    return {"card": card, "python": sys.version.split()[0], **versions}


def answered(question):
    try:
        return question()
    except Exception as error:  # noqa: BLE001 (whatever it is, the other side is told)
        traceback.print_exc()
        return {"error": f"{error.__class__.__name__}: {error}"[:300]}


def main():
    given = arguments()
    # Answers alone go to standard output; what libraries print goes with the errors.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    case = Case(given)
    questions = {"compile": case.compile, "round": case.round}
    questions |= {"about": lambda: about(given.device), "ceilings": lambda: ceilings(given.device)}
    for line in sys.stdin:
        print(json.dumps(answered(questions[line.strip()])), file=answers, flush=True)


if __name__ == "__main__":
    main()
