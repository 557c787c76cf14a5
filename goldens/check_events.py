#!/usr/bin/env python3
"""Opens a run in TensorBoard and compares what it shows with the run's results.csv.

Twice: as TensorBoard's library reads the event file, and as a TensorBoard started on 127.0.0.1 answers. Each epoch must
be there once, under the names and with the values of results.csv, and steps must rise. Needs the tensorboard package.

    python goldens/check_events.py runs/train/exp1
"""

import csv
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

NOT_SCALARS = {"epoch", "step", "time_s"}
STEPWISE = ["step/train_loss", "step/lr"]


def expected(run):
    """{tag: [(step, value)]} of results.csv."""
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    tags = [name for name in rows[0] if name not in NOT_SCALARS]
    return {tag: [(int(row["step"]), float(row[tag])) for row in rows] for tag in tags}


def compare(reader, found, wanted):
    """Exits unless found has all that is wanted, and steps that rise."""
    missing = (set(wanted) | set(STEPWISE)) - set(found)
    if missing:
        sys.exit(f"{reader}: no {sorted(missing)}")
    for tag, points in found.items():
        steps = [step for step, _ in points]
        if steps != sorted(set(steps)):
            sys.exit(f"{reader}: steps of {tag} do not rise: {steps}")
    for tag, points in wanted.items():
        close = [abs(a[1] - b[1]) <= 1e-6 * abs(b[1]) for a, b in zip(found[tag], points)]
        if [step for step, _ in found[tag]] != [step for step, _ in points] or not all(close):
            sys.exit(f"{reader}: {tag} is {found[tag]}, but results.csv has {points}")
    print(f"{reader}: {len(found)} tags, {sum(map(len, found.values()))} points, as in results.csv")


def by_library(run):
    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


def by_server(run, load_fast, port):
    """What a TensorBoard of its own says over HTTP."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--load_fast", load_fast, "--samples_per_plugin", "scalars=1000000"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}/data/plugin/scalars"
    try:
        tags = {}
        for _ in range(120):
            time.sleep(0.5)
            try:
                tags = json.load(urllib.request.urlopen(f"{base}/tags")).get(".", {})
            except OSError:
                continue
            if set(STEPWISE) | {"val/loss"} <= set(tags):
                break
        found = {}
        for tag in tags:
            query = urllib.parse.urlencode({"run": ".", "tag": tag})
            points = json.load(urllib.request.urlopen(f"{base}/scalars?{query}"))
            found[tag] = [(step, value) for _, step, value in points]
        return found
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    run = Path(sys.argv[1])
    wanted = expected(run)
    compare("library", by_library(run), wanted)
    compare("server, its own reader", by_server(run, "false", 16006), wanted)
    compare("server, its fast reader", by_server(run, "true", 16007), wanted)
