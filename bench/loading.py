#!/usr/bin/env python3
"""Times loading of images here and in PyTorch's data loader side by side, and writes a record.

    cargo build --release
    python bench/loading.py DATA records/DATE-loading [--python pillow-simd=v1/bin/python] [--python dali=v2/bin/python]

DATA holds train/ and a folder to validate with. Decode, random resized crop, flip, normalise, batch of f32; files in
cache. Every figure comes from a process of its own. In the first round each form of PyTorch's loader tries several
numbers of workers; in the others it runs with its best, and all take turns, forwards and backwards. Nothing else may
run meanwhile. Forms that need another Python (a form is a library, and some cannot live beside others) are given one
with --python. `loading_torch.py` has the forms.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import compare

HERE = Path(__file__).resolve().parent
# A form, what the table calls it, the numbers of workers tried.
TORCH = {
    "pillow": ("PyTorch, Pillow", (0, 1, 2, 4)),
    "pillow-simd": ("PyTorch, Pillow-SIMD", (0, 1, 2, 4)),
    "decode_jpeg": ("PyTorch, decode_jpeg and v2 transforms", (0, 1, 2, 4)),
    "dali": ("DALI on the CPU", (1, 2, 4)),
    "ffcv": ("FFCV, its own file of bare pixels", (1, 2, 4)),
}
OURS = {"folder": "alexnet, folder", "pack": "alexnet, packed at 256 pixels"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("record", type=Path, help="folder to write")
    parser.add_argument("--alexnet", default=HERE.parent / "target/release/alexnet", help="the program")
    parser.add_argument("--python", action="append", default=[], metavar="FORM=PYTHON", help="another one for a form")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=compare.CPUS, help="of alexnet")
    parser.add_argument("--no-training", action="store_true", help="leave out the share of a training step spent waiting")
    return parser.parse_args()


def answer(command):
    process = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if process.returncode:
        return {"error": process.stderr.strip().splitlines()[-1][:300] if process.stderr.strip() else "failed"}
    # Some libraries print to standard output too.
    return json.loads(process.stdout[process.stdout.index("{") :])


def ours(given, data, steps):
    asked = ["bench", "data", "--data", data, "--batch-size", given.batch_size, "--workers", given.workers]
    return answer([given.alexnet, *asked, "--warmup-steps", 6, "--steps", steps, "--format", "json"])


def torch(given, pythons, form, workers):
    program = [pythons.get(form, sys.executable), HERE / "loading_torch.py", form.replace("-simd", "")]
    return answer([*program, given.data, "--workers", workers, "--batch-size", given.batch_size])


def measure(given, pythons, packed, tell):
    """All rounds; returns the best number of workers of each form."""
    forms = [form for form in TORCH if form in ("pillow", "decode_jpeg") or form in pythons]
    best = {}
    for form in forms:
        rates = {}
        for workers in TORCH[form][1]:
            found = torch(given, pythons, form, workers)
            tell({"part": "workers", "contender": form, "workers": workers, **found})
            rates[workers] = found.get("images_per_s", 0)
        best[form] = max(rates, key=rates.get)
    for turn in range(given.rounds):
        contenders = [*OURS, *forms]
        for contender in contenders[:: 1 if turn % 2 == 0 else -1]:
            if contender == "folder":
                found = ours(given, given.data, 30)
            elif contender == "pack":
                found = ours(given, packed, 120)
            else:
                found = torch(given, pythons, contender, best[contender])
            workers = best.get(contender, given.workers)
            tell({"part": "rounds", "round": turn, "contender": contender, **found, "workers": workers})
    return best


def waiting(given, data, name, folder):
    """The share of a training epoch's time that was spent waiting for images."""
    asked = ["train", data, "--batch-size", given.batch_size, "--epochs", 1, "--project", folder, "--name", name]
    subprocess.run([str(word) for word in [given.alexnet, *asked]], check=True, capture_output=True)
    with (Path(folder) / name / "results.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    return {"part": "training", "contender": name, "images_per_s": float(row["images_per_s"]), "data_wait": float(row["data_wait"])}


def report(record, lines):
    machine = next(line for line in lines if line["part"] == "machine")
    rounds = [line for line in lines if line["part"] == "rounds"]
    rates = {}
    for line in rounds:
        if "images_per_s" in line:
            rates.setdefault(line["contender"], []).append(line["images_per_s"])
    median = {contender: statistics.median(found) for contender, found in rates.items()}
    workers = {line["contender"]: line["workers"] for line in rounds}
    peers = {contender: rate for contender, rate in median.items() if contender in TORCH}
    names = {**OURS, **{form: name for form, (name, _) in TORCH.items()}}
    text = ["# Loading of images, here and in PyTorch\n", f"    {machine['command']}\n"]
    text.append(f"Commit {machine['commit']}, {machine['date']}; {machine['processor']}; {machine['system']}.")
    text.append(f"{machine['images']} JPEG files of {machine['kilobytes']:.0f} KB in the mean, in cache; batches of {machine['batch_size']};")
    text.append(f"medians of {machine['rounds']} rounds in alternation.\n")
    text.append("| | workers | images/s | from, to | folder here | pack here |\n| --- | --- | --- | --- | --- | --- |")
    for contender in sorted(median, key=median.get):
        own = [f"{median[name] / median[contender]:.2f}x" if contender in peers and name in median else "" for name in OURS]
        spread = f"{min(rates[contender]):.0f}, {max(rates[contender]):.0f}"
        text.append(f"| {names[contender]} | {workers[contender]} | {median[contender]:.0f} | {spread} | {own[0]} | {own[1]} |")
    for line in lines:
        if line["part"] == "training":
            share = f"{100 * line['data_wait']:.2f} % of its time waiting for images"
            text.append(f"\nOne epoch of `modern` from the {line['contender']}, {line['images_per_s']:.1f} images/s, spent {share}.")
    remarks = record / "README.md"
    kept = remarks.read_text().split("\n## Remarks\n")[1:] if remarks.exists() else []
    text += ["\n## Remarks\n" + part.rstrip("\n") for part in kept]
    remarks.write_text("\n".join(text) + "\n")


def main():
    given = arguments()
    pythons = dict(pair.split("=", 1) for pair in given.python)
    given.record.mkdir(parents=True, exist_ok=True)
    results = given.record / "results.jsonl"
    results.write_text("")

    def tell(line):
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)

    given.parts, given.seconds = [], 0
    files = list((given.data / "train").glob("*/*"))
    about = {key: value for key, value in compare.machine(given).items() if key not in ("parts", "seconds")}
    about["command"] = f"python bench/loading.py DATA records/{given.record.name}"
    about["images"], about["batch_size"] = len(files), given.batch_size
    about["kilobytes"] = sum(file.stat().st_size for file in files) / len(files) / 1e3
    tell(about)
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "packed"
        packing = [given.alexnet, "data", "pack", given.data, packed, "--resize-size", "256"]
        subprocess.run([str(word) for word in packing], check=True, capture_output=True)
        measure(given, pythons, packed, tell)
        if not given.no_training:
            tell(waiting(given, given.data, "folder", folder))
            tell(waiting(given, packed, "pack", folder))
    report(given.record, [json.loads(line) for line in results.read_text().splitlines()])


if __name__ == "__main__":
    main()
