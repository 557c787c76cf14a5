#!/usr/bin/env python3
"""Times `alexnet bench` and its peers side by side, and writes a record: raw figures, tables, charts.

    cargo build --release
    python bench/compare.py records/DATE-cpu [part ...]        # all parts, if none is named

Nothing else may run meanwhile. Every figure comes from a process of its own; a case's contenders take turns, forwards
in one round and backwards in the next. A part measured again replaces its old figures. `compare_cases.py` lists the cases.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import compare_cases as cases
import compare_report as report

HERE = Path(__file__).resolve().parent
CPUS = len(os.sched_getaffinity(0))
# Steps are counted as if the machine did so many GFLOP/s.
GUESSED_GFLOPS = 300
MIN_STEPS, MAX_STEPS = 3, 300


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path, help="folder to write")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(cases.PARTS)}; all, if none is named")
    parser.add_argument("--alexnet", default=HERE.parent / "target/release/alexnet", help="the program")
    parser.add_argument("--rounds", type=int, default=2, help="of every case, each a process a contender")
    parser.add_argument("--seconds", type=float, default=3.0, help="about, of timed steps a process")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds a process may take")
    parser.add_argument("--report-only", action="store_true", help="tables and charts of what is there")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(cases.PARTS):
        parser.error(f"no part is called {', '.join(unknown)}: choose of {', '.join(cases.PARTS)}")
    return given


def command(given, case, contender, cache):
    """The process that times a contender on a case."""
    seconds = case.seconds or given.seconds
    steps = int(seconds * GUESSED_GFLOPS / case.gflop())
    threads = case.threads or CPUS
    asked = [case.task, "--model", case.model, "--batch-size", case.batch, "--threads", threads]
    asked += ["--image-size", case.image_size, "--width", case.width]
    asked += ["--precision", contender.precision, "--steps", min(max(steps, MIN_STEPS), MAX_STEPS)]
    programs = {
        "alexnet": [given.alexnet, "bench", *asked, "--format", "json"],
        "torch": [sys.executable, HERE / "torch_step.py", *asked],
        "openvino": [sys.executable, HERE / "openvino_infer.py", *asked, "--cache", cache],
    }
    return [str(word) for word in programs[contender.program] + list(contender.options)]


def about(case, contender):
    """What was measured, for the raw figures."""
    told = {key: value for key, value in vars(case).items() if key not in ("contenders", "rounds", "seconds")}
    told["threads"] = case.threads or CPUS
    told |= {"contender": contender.name, "ours": contender.ours, "precision": contender.precision}
    return {**told, "environment": dict(contender.environment)}


def busy_seconds():
    """Of all processors since the start, whoever it was for, time stolen by the host included."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _wait, irq, softirq, steal = ticks[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measured(given, case, contender, cache):
    """What the contender's process says, and how many processors were busy with anything else."""
    environment = {**os.environ, **dict(contender.environment)}
    others, begin = busy_seconds() - own_seconds(), time.monotonic()
    try:
        process = subprocess.run(
            command(given, case, contender, cache),
            env=environment, capture_output=True, text=True, timeout=given.limit, check=True,
        )  # fmt: skip
        answer = json.loads(process.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {given.limit:.0f} s"}
    except (subprocess.CalledProcessError, json.JSONDecodeError) as error:
        return {"error": f"{error.__class__.__name__}: {getattr(error, 'stderr', error)}"[-300:]}
    elapsed = time.monotonic() - begin
    answer["other_processors"] = max(0.0, busy_seconds() - own_seconds() - others) / elapsed
    return {key: value for key, value in answer.items() if key != "layers"} | by_kind(answer.get("layers", []))


def by_kind(layers):
    """Effective GFLOP/s of all convolutions and of all linear layers, forward and backward."""
    found = {}
    for kind in ("conv", "linear"):
        passes = [layer[way] for layer in layers if layer["kind"] == kind for way in ("forward", "backward")]
        passes = [one for one in passes if one]
        if passes:
            work = sum(one["ms"] * one["effective_gflops"] for one in passes)
            found[f"{kind}_gflops"] = work / sum(one["ms"] for one in passes)
    return found


def machine(given):
    """What was compared where."""
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    cpu = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "part": "machine",
        "parts": given.parts or cases.PARTS,
        "rounds": given.rounds,
        "seconds": given.seconds,
        "commit": commit,
        "date": datetime.date.today().isoformat(),
        "processor": f"{cpu[0] if cpu else platform.processor()}, {CPUS} CPUs",
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def measure(given, results, cache):
    """Runs every case asked for, a JSON line a process."""
    parts = given.parts or cases.PARTS
    old = results.read_text().splitlines() if results.exists() else []
    kept = [line for line in old if json.loads(line)["part"] not in parts]
    results.write_text("".join(line + "\n" for line in [*kept, json.dumps(machine(given))]))
    for case in (case for case in cases.CASES if case.part in parts):
        for turn in range(case.rounds or given.rounds):
            for contender in case.contenders[:: 1 if turn % 2 == 0 else -1]:
                figures = measured(given, case, contender, cache)
                with results.open("a") as file:
                    file.write(json.dumps({**about(case, contender), "round": turn, **figures}) + "\n")
                told = figures.get("error") or f"{figures['median_ms']:10.2f} ms"
                print(f"{case.part} {case.model} {case.task} {case.batch} {contender.name}: {told}", flush=True)


def main():
    given = arguments()
    given.record.mkdir(parents=True, exist_ok=True)
    results = given.record / "results.jsonl"
    if not given.report_only:
        with tempfile.TemporaryDirectory() as cache:
            measure(given, results, cache)
    report.write(given.record, [json.loads(line) for line in results.read_text().splitlines()])


if __name__ == "__main__":
    main()
