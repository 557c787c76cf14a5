"""What saving costs: trains `modern` at full width, saves every SAVE_STEPS steps, and compares steps after a save with the others.

    python cost.py alexnet DATA SECONDS
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time

SAVE_STEPS = 30
AFTER = 15  # Steps in which a save may be felt.

program, data, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
with tempfile.TemporaryDirectory(dir=".") as project:
    command = [program, "train", data, "--image-size", "224", "--batch-size", "32", "--epochs", "9", "--print-freq", "1", "--save-every-minutes", "0",
               "--save-every-steps", str(SAVE_STEPS), "--project", project, "--name", "cost"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    start, last, intervals = time.monotonic(), None, {}
    for line in child.stderr:
        now = time.monotonic()
        found = re.match(r"Epoch: \[(\d+)\]  \[ *(\d+)/(\d+)\]", line)
        if not found:
            print(line, end="")
            continue
        epoch, step, steps = map(int, found.groups())
        if step > 1:  # From the end of the step before: a save after it lies within.
            intervals[(epoch - 1) * steps + step] = now - last
        last = now
        if now - start > seconds:
            break
    child.kill()
    child.wait()

near_an_end = {n for end in range(0, max(intervals) + 1, steps) for n in range(end, end + AFTER)}  # An epoch's end saves too.
quiet = [s for n, s in intervals.items() if n not in near_an_end and (n - 1) % SAVE_STEPS >= AFTER]
usual = statistics.mean(quiet)
print(f"usual step {usual * 1000:.0f} ms (mean of {len(quiet)}, median {statistics.median(quiet) * 1000:.0f}, deviation {statistics.stdev(quiet) * 1000:.0f})")
extra = []
for n in range(SAVE_STEPS + 1, max(intervals) - AFTER, SAVE_STEPS):
    after = [intervals.get(k) for k in range(n, n + AFTER)]
    if None in after or near_an_end.intersection(range(n - 1, n + AFTER)):
        continue
    extra.append(sum(after) - AFTER * usual)
    print(f"save after step {n - 1}: {extra[-1]:+.2f} s over {AFTER} steps; the first five {[round(s * 1000) for s in after[:5]]} ms")
cost = statistics.mean(extra)
print(f"a save costs {cost:.2f} s of training: every 10 minutes, {cost / 600:.2%}")
