"""Times PyTorch on the same step as `alexnet bench`: `modern`, random images, f32, channels-last. Prints JSON.

    python bench/step_torch.py train --batch-size 32 --steps 5
"""

import argparse
import json
import statistics
import time

import torch
from torch.nn import functional as F

from train_torch import network


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["train", "infer"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = network(1000, 1.0, batch_norm=False).to(memory_format=torch.channels_last)
    images = torch.randn(arguments.batch_size, 3, 224, 224)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(arguments.batch_size) % 1000
    sgd = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4, foreach=True)

    def train():
        sgd.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        sgd.step()

    @torch.inference_mode()
    def infer():
        model(images)

    model.train(arguments.task == "train")
    step, times = {"train": train, "infer": infer}[arguments.task], []
    for _ in range(arguments.steps + 2):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    times = times[2:]
    median = statistics.median(times)
    figures = {"median_ms": median, "min_ms": min(times), "max_ms": max(times)}
    figures["images_per_s"] = arguments.batch_size / median * 1e3
    print(json.dumps({"peer": f"torch {torch.__version__}", "task": arguments.task, **figures}))


if __name__ == "__main__":
    main()
