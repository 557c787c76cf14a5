"""AlexNet in this program beside PyTorch compiled, on one NVIDIA GPU. Writes a record: raw figures and a table.

    cargo build --release
    python bench/gpu.py records/DATE-gpu                                  # everything that --limit-s leaves time for
    python bench/gpu.py records/DATE-gpu --models modern --tasks train --batches 128 --gemm-backends ATEN

Nothing else may run meanwhile. PyTorch compiles each case in a process of its own (`gpu_torch.py`), all of them side by
side; then nothing compiles any more, and case by case, rounds of that process and processes of `alexnet bench` take
turns. `results.json` and `README.md` are written after every case; another call adds
to them. Remarks go under `## Remarks` in that `README.md`; they are kept.
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import pty
import queue
import shlex
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TASKS, MODELS = ["train", "infer"], ["modern", "torchvision", "paper"]
# Seconds that a process of ours, a round of PyTorch's, and its ceilings may take.
PATIENCE_S = 60
# The first process of ours, whose memory is read, gets as many steps as half a second has at such a rate.
GUESSED_FLOPS_PER_S = {"cuda": 2e14, "cpu": 1e10}
MIN_STEPS, MAX_STEPS, MIN_WARMUP_STEPS = 10, 20_000, 3
# The card that is looked at is the one that is computed on.
CARD = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"


def arguments():
    def words(text):
        return text.split(",")

    def numbers(text):
        return [int(word) for word in words(text)]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path, help="folder to write")
    parser.add_argument("--alexnet", default=HERE.parent / "target/release/alexnet", help="the program")
    parser.add_argument("--tasks", type=words, default=TASKS, help=",".join(TASKS))
    parser.add_argument("--models", type=words, default=MODELS, help=",".join(MODELS))
    parser.add_argument("--batches", type=numbers, default=[128, 256, 1024], help="of training: 128,256,1024")
    parser.add_argument("--infer-batches", type=numbers, default=[1, 256], help="of inference: 1,256")
    parser.add_argument("--infer-models", type=words, default=MODELS, help="whose inference: all of --models")
    parser.add_argument("--rounds", type=int, default=3, help="of every case")
    parser.add_argument("--seconds-per-case", type=float, default=3.0, help="about, of timed steps")
    parser.add_argument("--limit-s", type=float, default=400, help="seconds after which no case begins")
    parser.add_argument("--compile-limit-s", type=float, default=180, help="seconds PyTorch may compile a case")
    parser.add_argument("--gemm-backends", default="ATEN,TRITON", help="PyTorch may form matrix products by")
    parser.add_argument("--conv-backends", default="ATEN,TRITON", help="PyTorch may form convolutions by")
    parser.add_argument("--in-turn", action="store_true", help="ours also with one operation after the other")
    parser.add_argument("--steps-only", action="store_true", help="not what layers and operations of ours take")
    parser.add_argument("--commit", help="what is measured, where there is no git")
    # To try this out where there is no GPU.
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--width", type=float, default=1.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := (set(given.tasks) - set(TASKS)) | (set(given.models) - set(MODELS)):
        parser.error(f"not known: {', '.join(unknown)}; choose of {', '.join(TASKS)} and {', '.join(MODELS)}")
    if not Path(given.alexnet).exists():
        parser.error(f"{given.alexnet} is not there: build it, or say where it is with --alexnet")
    return given


@dataclass(frozen=True)
class Case:
    task: str
    model: str
    batch: int

    @property
    def name(self):
        return f"{self.model} {self.task} {self.batch}"

    def network(self, given):
        size = 227 if self.model == "paper" else 224
        return ["--model", self.model, "--image-size", str(size), "--width", str(given.width)]

    def asked(self, given):
        """What both programs are told."""
        return [self.task, *self.network(given), "--batch-size", str(self.batch), "--device", given.device]


def cases(given):
    batches = {"train": given.batches, "infer": given.infer_batches}
    models = {"train": given.models, "infer": set(given.models) & set(given.infer_models)}
    every = [Case(task, model, batch) for model in given.models for task in given.tasks for batch in batches[task]]
    return [case for case in every if case.model in models[case.task]]


# The least work of a step, by which its roofline is.


def flops(summary, task):
    """Of an image. A multiply-add is two; a training step goes three times through all layers, but for the gradient of
    the image."""
    macs = [layer["macs"] for layer in summary["layers"] if layer["macs"]]
    return 2 * (3 * sum(macs) - macs[0] if task == "train" else sum(macs))


def least_bytes(summary, task, batch):
    """That go through memory at least, whatever is fused and with no cache between steps.

    Weights in inference: bf16 read, 2 bytes. In training 20: weight and velocity in f32 read and written (16), a bf16
    copy written and read in the forward pass (4); the backward pass can round the f32 it updates, and the gradient
    need not be stored.
    Activations in bf16: only what convolutions and linear layers read, since bias, ReLU, normalisation, pooling and
    dropout can be fused with what comes before and after. The image: read once a pass. Every other: written and read
    in the forward pass (4), in the backward pass read for the weights' gradient, and its own gradient written and
    read (6). Logits and pooling's choices are left out.
    """
    inputs, elements = [], 3 * summary["image_size"] ** 2
    for layer in summary["layers"]:
        if layer["macs"]:
            inputs.append(elements)
        elements = layer["output"][0] * layer["output"][1] * layer["output"][2]
    weight, image, other = (20, 4, 10) if task == "train" else (2, 2, 4)
    return weight * summary["params"] + batch * (image * inputs[0] + other * sum(inputs[1:]))


def work(summary, case):
    """Of a step."""
    return {
        "flops": case.batch * flops(summary, case.task),
        "bytes": least_bytes(summary, case.task, case.batch),
    }


def roofline(work, ceilings):
    """Milliseconds, and which ceiling it is."""
    by_flops = work["flops"] / ceilings["product_tflops"] / 1e9
    by_bytes = work["bytes"] / ceilings["copy_gb_per_s"] / 1e6
    return max((by_flops, "products"), (by_bytes, "memory"))


# The card, as nvidia-smi sees it.


def nvidia_smi(fields, *more):
    return ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "-i", CARD, *more]


def card():
    """Its driver and memory, if that can be known."""
    try:
        asked = nvidia_smi("driver_version,memory.total")
        driver, total = subprocess.check_output(asked, text=True, timeout=20).split(",")
        return {"driver": driver.strip(), "memory_mib": int(total)}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {"driver": None, "memory_mib": None}


class Memory:
    """Watches how much memory is used, every 20 ms, from before something starts until it ended."""

    def __enter__(self):
        self.seen, self.process = [], None
        # To a terminal it writes every line at once.
        self.terminal, end = pty.openpty()
        with contextlib.suppress(FileNotFoundError):
            self.process = subprocess.Popen(
                nvidia_smi("memory.used", "-lms", "20"), stdout=end, stderr=subprocess.DEVNULL
            )
        os.close(end)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        begin = time.monotonic()
        while self.reader.is_alive() and not self.seen and time.monotonic() - begin < 5:
            time.sleep(0.01)
        return self

    def read(self):
        # A terminal whose other end is closed is an error to read.
        with contextlib.suppress(OSError), open(self.terminal) as lines:
            self.seen.extend(int(line) for line in lines if line.strip().isdigit())

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()
        self.reader.join()

    def most_bytes(self):
        """Beyond what was used before; none if it was not seen to grow."""
        grown = max(self.seen, default=0) - (self.seen[0] if self.seen else 0)
        return grown * 2**20 or None


# The two programs.


class Failed(Exception):
    """Says why, in a line."""


def alexnet(given, *words):
    """What it answers."""
    command = [str(given.alexnet), *words, "--format", "json"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        return json.loads(process.stdout)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done in {PATIENCE_S} s") from None
    except subprocess.CalledProcessError as error:
        raise Failed(f"ended with {error.returncode}: {error.stderr.strip()[-300:]}") from None
    except (OSError, json.JSONDecodeError) as error:
        raise Failed(f"{error.__class__.__name__}: {error}"[:300]) from None


def timed(given, case, steps, more):
    warmup = max(MIN_WARMUP_STEPS, steps // 10)
    options = ["--precision", "bf16", "--steps", str(steps), "--warmup-steps", str(warmup)]
    return alexnet(given, "bench", *case.asked(given), *options, *more)


class Torch:
    """PyTorch's process for a case, asked line by line."""

    def __init__(self, given, case, threads):
        self.lines, self.last_words = queue.Queue(), collections.deque(maxlen=3)
        seconds = given.seconds_per_case / given.rounds / 2
        options = ["--gemm-backends", given.gemm_backends, "--conv-backends", given.conv_backends]
        options += ["--seconds", str(seconds)]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "gpu_torch.py"), *case.asked(given), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True,
            env=os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": str(threads)},
        )  # fmt: skip
        self.listener = threading.Thread(target=lambda: self.last_words.extend(self.process.stderr), daemon=True)
        self.listener.start()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        """Passes on answers, and at the end nothing."""
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def ask(self, question, limit_s=PATIENCE_S):
        self.tell(question)
        return self.hear(question, limit_s)

    def tell(self, question):
        with contextlib.suppress(BrokenPipeError):
            print(question, file=self.process.stdin, flush=True)

    def hear(self, question, limit_s):
        try:
            line = self.lines.get(timeout=limit_s)
        except queue.Empty:
            # Nothing may go on beside the other side's measurement.
            self.end()
            raise Failed(f"{question}: not done in {limit_s:g} s") from None
        answer = json.loads(line) if line else self.ended()
        if "error" in answer:
            raise Failed(f"{question}: {answer['error']}")
        return answer

    def ended(self):
        """The answer to this and every further question."""
        self.lines.put("")
        self.listener.join(1)
        return {"error": f"ended with {self.process.wait()}: {''.join(self.last_words)[-300:]}"}

    def end(self):
        """With whatever it started to compile."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


# The measurement.


def first_of_ours(given, case, work):
    """The memory it takes, what a GPU's operations take, and how many steps make a round."""
    guess = given.seconds_per_case / 6 * GUESSED_FLOPS_PER_S[given.device] / work["flops"]
    with Memory() as memory:
        operations = ["--operations"] if given.device == "cuda" else []
        more = ["--steps-only"] if given.steps_only else operations
        answer = timed(given, case, min(max(int(guess), MIN_STEPS), MAX_STEPS // 10), more)
    milliseconds = given.seconds_per_case / given.rounds / 2 * 1e3
    steps = min(max(round(milliseconds / answer["median_ms"]), MIN_STEPS), MAX_STEPS)
    known = {key: answer.get(key) for key in ("device", "peak_rss_bytes", "layers", "operations")}
    return {"steps": steps, "memory_bytes": memory.most_bytes(), **known}


def attempt(side, measure):
    """Runs one side's next measurement, unless it failed before."""
    if "error" in side:
        return
    try:
        measure()
    except Failed as error:
        side["error"] = str(error)


def rounds(given, case, torch, theirs, work):
    """Both sides' figures. A failure of one does not end the other's."""
    ours = {"rounds": []}
    attempt(ours, lambda: ours.update(first_of_ours(given, case, work)))

    def round_of_ours(side, *more):
        answer = timed(given, case, ours["steps"], ["--steps-only", *more])
        side["rounds"].append({key: answer[key] for key in ("median_ms", "min_ms", "max_ms")})

    sides = {"alexnet": ours, "torch": theirs}
    if given.in_turn:
        sides["in_turn"] = {"rounds": []} if "steps" in ours else {"rounds": [], "error": "as beside each other"}
    for _ in range(given.rounds):
        attempt(theirs, lambda: theirs["rounds"].append(torch.ask("round")))
        attempt(ours, lambda: round_of_ours(ours))
        if given.in_turn:
            attempt(sides["in_turn"], lambda: round_of_ours(sides["in_turn"], "--in-turn"))
    return {name: summed_up(side, case) for name, side in sides.items()}


def summed_up(side, case):
    """With the median of the rounds' medians, the least and the most of them."""
    medians = [one["median_ms"] for one in side["rounds"]]
    if "error" in side or not medians:
        return side
    median = statistics.median(medians)
    figures = {"median_ms": median, "min_ms": min(medians), "max_ms": max(medians)}
    return {**figures, "images_per_s": case.batch / median * 1e3, **side}


def know(run, torch):
    """What runs where and what the ceilings are, which a run's first process of PyTorch's tells."""
    for part in ("about", "ceilings"):
        if "error" in run.get(part, {"error": "not asked yet"}):
            run[part] = {}
            attempt(run[part], lambda part=part: run[part].update(torch.ask(part)))


def compared(found, ceilings):
    """Ours with theirs and with the roofline, as far as they are known."""
    ours, theirs = (found[side].get("median_ms") for side in ("alexnet", "torch"))
    figures = {"ratio": theirs / ours} if ours and theirs else {}
    if "error" not in ceilings:
        bound, by = roofline(found["work"], ceilings)
        figures["roofline"] = {"ms": bound, "bound_by": by, "share": bound / ours if ours else None}
    return figures


def measured(given, case, run, torch, theirs):
    found = {**asdict(case), "width": given.width}
    try:
        summary = alexnet(given, "summary", *case.network(given))
        found |= {"image_size": summary["image_size"], "work": work(summary, case)}
        found |= rounds(given, case, torch, theirs, found["work"])
    except Failed as error:
        return {**found, "error": f"summary: {error}"}
    finally:
        torch.end()
    return found | compared(found, run["ceilings"])


def compiled(given, run, left):
    """PyTorch's process of each case, ready to be timed, or why it is not."""
    processes = {}
    # All compile at a time, and share the cores.
    threads = max(1, (os.cpu_count() or 1) // max(1, len(left)))
    for case in left:
        backends = {"gemm_backends": given.gemm_backends, "conv_backends": given.conv_backends}
        processes[case] = Torch(given, case, threads), backends | {"rounds": []}
        if case is left[0]:
            know(run, processes[case][0])
        processes[case][0].tell("compile")
    end = time.monotonic() + given.compile_limit_s
    for torch, theirs in processes.values():
        attempt(theirs, lambda: theirs.update(torch.hear("compile", max(1, end - time.monotonic()))))
    return processes


def started(given):
    """What is known of a run before anything was measured."""
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = given.commit
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        commit = commit or subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    command = f"python bench/gpu.py {shlex.join(sys.argv[1:])}"
    now = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    about = {"command": command, "commit": commit or "unknown", "date": now, "rounds": given.rounds}
    return {**about, **card(), "cases": []}


# The record.


def short(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def times(side):
    if "median_ms" not in side:
        return ["failed", ""]
    median, least, most = (short(side[key]) for key in ("median_ms", "min_ms", "max_ms"))
    return [f"{median} ({least} to {most})", f"{side['images_per_s']:.0f}"]


def line(found):
    """A case in the table."""
    ours, theirs, bound = found["alexnet"], found["torch"], found.get("roofline")
    memory = ours.get("memory_bytes")
    ratio = f"**{found['ratio']:.2f}**" if "ratio" in found else ""
    share = [f"{short(bound['ms'])}, {bound['bound_by']}" if bound else ""]
    share.append(f"{100 * bound['share']:.0f} %" if bound and bound["share"] else "")
    name = [found["model"], found["task"], found["batch"]]
    own = times(ours)
    if "in_turn" in found:
        own[0] += f"; one after the other {times(found['in_turn'])[0]}"
    by = f"{theirs['gemm_backends']} / {theirs.get('conv_backends', 'ATEN,TRITON')}"
    compiled = [by, short(theirs["compile_s"]) if "compile_s" in theirs else ""]
    return [*name, *own, *times(theirs), ratio, *share, f"{memory / 1e9:.2f}" if memory else "", *compiled]


def table(found):
    header = ["network", "task", "batch", "ours, ms", "images/s", "PyTorch, ms", "images/s", "PyTorch / ours"]
    header += ["roofline, ms", "our share of it", "our memory, GB", "PyTorch's products / convolutions by", "compiled in, s"]
    lines = [header, ["---"] * len(header), *[line(one) for one in found]]
    return "".join(f"| {' | '.join(str(cell) for cell in cells)} |\n" for cells in lines)


def what_failed(run):
    """A line for everything that is missing."""
    told = []
    for found in run["cases"]:
        name = f"{found['model']} {found['task']} {found['batch']}"
        sides = [("", found), (", ours", found.get("alexnet", {})), (", PyTorch", found.get("torch", {}))]
        sides.append((", ours one after the other", found.get("in_turn", {})))
        told += [f"{name}{whose}: {side['error']}" for whose, side in sides if "error" in side]
    known = [run.get(part, {}) for part in ("about", "ceilings")]
    told += [f"Of the whole run, {part['error']}" for part in known if "error" in part]
    if run.get("skipped"):
        told.append(f"Not begun within the time limit: {', '.join(run['skipped'])}")
    return "".join(f"- {' '.join(text.split())}\n" for text in told)


def head(run):
    about, ceilings = run.get("about", {}), run.get("ceilings", {})
    text = f"    {run['command']}\n\nCommit {run['commit']}, {run['date']}; {about.get('card', 'unknown card')}"
    text += f", {run['memory_mib']} MiB, driver {run['driver']}.\n" if run["driver"] else ", no nvidia-smi.\n"
    if about.get("cudnn", 0) is None:
        text += "Tried on a processor, where PyTorch is not compiled: these are no figures of a GPU.\n"
    if "torch" in about:
        text += f"PyTorch {about['torch']}, CUDA {about['cuda']}, cuDNN {about['cudnn']}, Python {about['python']}.\n"
        there = f"{about['tensorrt']} is there, but was" if about["tensorrt"] else "is not installed there, and was"
        text += f"TensorRT {there} not measured.\n"
    if "product_tflops" in ceilings:
        side, rate = ceilings["product_side"], ceilings["product_tflops"]
        text += f"Ceilings, by PyTorch: a bf16 product of random {side} x {side} matrices {short(rate)} TFLOP/s,"
        text += f" a copy {ceilings['copy_gb_per_s']:.0f} GB/s read and written.\n"
    return text


HOW = """# `alexnet` beside PyTorch compiled, on one NVIDIA GPU

Training steps and inference in bf16. PyTorch: `torch.compile(mode="max-autotune")`, channels-last, autocast, fused SGD, cuDNN's heuristics as PyTorch has them by default; inference with bf16 weights. Its images stay on the card. Ours do in inference; in training each step's cross from the host as bytes, beside the step before. `bench/gpu_torch.py` is all of it.
Every figure is a median of rounds (least to most of them). A round is a process of `alexnet bench`, whose median step it is, or a stretch of steps in PyTorch's process, whose mean it is; the two take turns. Inference of one image is a latency: every call is waited for, on both sides.
The roofline is the longer of a step's multiply-adds at the product's rate and the bytes it cannot avoid at the copy's; `least_bytes` in `bench/gpu.py` says which. What a cache keeps from one step to the next is not counted.
Memory is the card's, by nvidia-smi: the most while the first process of `alexnet` ran, beyond what was used before, CUDA's own included. `results.json` has everything, single layers and single operations too, unless steps alone were asked for.
"""


def write(folder, runs):
    """Both files, so that what is there is whole at any time."""
    text = HOW
    for run in runs:
        text += f"\n## {run['date']}\n\n{head(run)}\n{table([one for one in run['cases'] if 'alexnet' in one])}"
        failed = what_failed(run)
        text += f"\n{failed}" if failed else ""
    readme = folder / "README.md"
    remarks = readme.read_text().partition("\n## Remarks\n")[2] if readme.exists() else ""
    text += f"\n## Remarks\n{remarks}" if remarks else ""
    for path, written in ((folder / "results.json", json.dumps({"runs": runs}, indent=1) + "\n"), (readme, text)):
        fresh = path.with_suffix(".new")
        fresh.write_text(written)
        fresh.replace(path)


def main():
    given, begin = arguments(), time.monotonic()
    given.record.mkdir(parents=True, exist_ok=True)
    results = given.record / "results.json"
    runs = json.loads(results.read_text())["runs"] if results.exists() else []
    run = started(given)
    runs.append(run)
    left = cases(given)
    processes = compiled(given, run, left)
    print(f"{time.monotonic() - begin:4.0f} s, compiled", flush=True)
    while left:
        elapsed = time.monotonic() - begin
        if elapsed > given.limit_s:
            run["skipped"] = [case.name for case in left]
            print(f"after {elapsed:.0f} s no time for: {', '.join(run['skipped'])}", flush=True)
            [torch.end() for torch, _ in processes.values()]
            break
        case = left.pop(0)
        found = measured(given, case, run, *processes.pop(case))
        run["cases"].append(found)
        run["elapsed_s"] = time.monotonic() - begin
        write(given.record, runs)
        told = [f"{name} {times(found.get(name, {}))[0]}" for name in ("alexnet", "torch")]
        print(f"{run['elapsed_s']:4.0f} s, {case.name}: {', '.join(told)} ms", flush=True)
    write(given.record, runs)


if __name__ == "__main__":
    main()
