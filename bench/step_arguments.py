"""What every peer's program is asked on its command line, and how it answers: as `alexnet bench` does."""

import argparse
import json
import statistics
import time


def parser(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("task", choices=["train", "infer"])
    parser.add_argument("--model", choices=["modern", "paper", "torchvision"], default="modern")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup-steps", type=int, default=2)
    return parser


def timed(step, steps, warmup_steps):
    """Milliseconds of each step after the warm-up."""
    times = []
    for _ in range(warmup_steps + steps):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    return times[warmup_steps:]


def answer(arguments, times, **more):
    median = statistics.median(times)
    figures = {"steps": len(times), "median_ms": median, "min_ms": min(times), "max_ms": max(times)}
    figures["images_per_s"] = arguments.batch_size / median * 1e3
    print(json.dumps({**figures, **more}))
