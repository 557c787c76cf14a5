"""Writes a record's `README.md` and charts from its raw figures. What stands under `## Remarks` is kept."""

import statistics

import compare_charts as charts

PARTS_COMPARED = {
    "train": "Training steps of `modern`",
    "infer": "Inference of `modern`",
    "models": "Other networks",
    "avx2": "Limited to AVX2",
}
# Figures with more than so many processors busy elsewhere are not to be trusted.
BUSY = 0.1


def cases(rows):
    """Rows by what was measured, in the order of measurement: {case: {contender: rows}}."""
    found = {}
    for row in rows:
        keys = ("model", "task", "batch", "image_size", "width", "threads")
        case = tuple(row[key] for key in keys)
        found.setdefault(case, {}).setdefault(row["contender"], []).append(row)
    return found


def middle(rows, key="median_ms"):
    """The median over processes; none if one of them failed."""
    values = [row.get(key) for row in rows]
    return None if None in values else statistics.median(values)


def short(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(rows, key="median_ms", scale=1.0):
    """`median (least to most)` over processes."""
    if middle(rows, key) is None:
        return "failed"
    values = [row[key] * scale for row in rows]
    return f"{short(statistics.median(values))} ({short(min(values))} to {short(max(values))})"


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def comparable(ours, peer):
    """A peer of any precision beside our f32; beside our bf16 only peers that round, too."""
    return ours["precision"] == "f32" or peer["precision"] == "bf16"


def compared(rows):
    """A line for every one of ours and every peer, with the ratio of their medians."""
    lines = []
    for (model, task, batch, *_), contenders in cases(rows).items():
        ours = [runs for runs in contenders.values() if runs[0]["ours"]]
        peers = [runs for runs in contenders.values() if not runs[0]["ours"]]
        for a, b in ((a, b) for a in ours for b in peers if comparable(a[0], b[0])):
            times = middle(a), middle(b)
            ratio = "" if None in times else f"**{times[1] / times[0]:.2f}**"
            names = [runs[0]["contender"] for runs in (a, b)]
            lines.append([model, task, batch, names[0], spread(a), names[1], spread(b), ratio])
    return table(["network", "task", "batch", "ours", "ms", "peer", "ms", "peer / ours"], lines)


def ceilings(rows):
    lines = []
    ours = [row for row in rows if row.get("ours") and row["part"] == "ceilings"]
    for name in dict.fromkeys(row["contender"] for row in ours):
        runs = [row for row in ours if row["contender"] == name]
        figures = [spread(runs, key) for key in ("matrix_product_gflops", "memory_read_gb_per_s")]
        lines.append([name, *figures])
    return table(["path", "matrix product, GFLOP/s", "memory read, GB/s"], lines)


def sizes(rows):
    """`gflops` are a direct computation's over the time, so time per multiply-add is its inverse."""
    lines = []
    found = {(case[1], case[3]): runs for case, runs in cases(rows).items()}
    for (task, size), contenders in found.items():
        ours, peer = contenders["alexnet f32"], contenders["PyTorch f32"]
        at_224 = found[task, 224]["alexnet f32"]
        times = middle(ours), middle(peer)
        ratio = "" if None in times else f"**{times[1] / times[0]:.2f}**"
        relative = []
        for key in ("gflops", "conv_gflops", "linear_gflops"):
            rates = middle(ours, key), middle(at_224, key)
            relative.append("" if None in rates else f"{rates[1] / rates[0]:.2f}")
        lines.append([task, size, spread(ours), spread(peer), ratio, *relative])
    relative = ["time per multiply-add, of that at 224", "of convolutions", "of linear layers"]
    return table(["task", "pixels", "ours, ms", "PyTorch f32, ms", "PyTorch / ours", *relative], lines)


def memory(rows):
    lines = []
    for contenders in cases(rows).values():
        for name, runs in contenders.items():
            imported = "" if runs[0]["ours"] else spread(runs, "import_rss_bytes", 2**-20)
            lines.append([name, spread(runs, "peak_rss_bytes", 2**-20), imported])
    return table(["program", "peak, MiB", "of which after imports, MiB"], lines)


def scaling(rows):
    lines = []
    for (_, task, batch, _, width, threads), contenders in cases(rows).items():
        for name, runs in contenders.items():
            figures = [spread(runs, key).split()[0] for key in ("median_ms", "images_per_s")]
            lines.append([task, batch, width, threads, name, *figures])
    header = ["task", "batch", "width", "threads", "program", "ms", "images/s"]
    return table(header, lines)


def head(machines, rows):
    """What was run where, and whether the machine was idle."""
    text = "# `alexnet` beside its peers on a CPU\n\n"
    for machine in machines:
        given = f"--rounds {machine['rounds']} --seconds {machine['seconds']:g}"
        text += f"    python bench/compare.py RECORD {' '.join(machine['parts'])} {given}\n"
        text += f"\nCommit {machine['commit']}, {machine['date']}; {machine['processor']}, "
        text += f"{machine['memory_gib']} GiB, {machine['system']}.\n\n"
    versions = {row["contender"].split()[0]: row["version"] for row in rows if "version" in row}
    text += " ".join(f"{name} {version}." for name, version in versions.items())
    busy = [row for row in rows if row.get("other_processors", 0) > BUSY]
    failed = [row for row in rows if "error" in row]
    text += f"""
Every figure is a median of the medians of as many processes as there are rounds (least to most of them), contenders in turns, in both orders. `results.jsonl` has them all.
PyTorch is eager, channels-last, with fused SGD and a C library that keeps its memory; OpenVINO has the better of its two hints. bench/README.md says why.
Of {len(rows)} processes, {len(failed)} failed, and during {len(busy)} more than {BUSY} processors were busy with something else.
"""
    return text


def write(folder, lines):
    machines = [line for line in lines if line["part"] == "machine"]
    rows = [line for line in lines if line["part"] != "machine"]
    parts = {part: [row for row in rows if row["part"] == part] for part in {row["part"] for row in rows}}
    text = head(machines, rows)
    sections = {"ceilings": ("The machine's ceilings", ceilings)}
    sections |= {part: (title, compared) for part, title in PARTS_COMPARED.items()}
    sections["sizes"] = ("Image sizes, batches of 32", sizes)
    sections["memory"] = ("Memory of a training step, batch 128", memory)
    sections["scaling"] = ("Scaling", scaling)
    for part, (title, written) in sections.items():
        if part in parts:
            text += f"\n## {title}\n\n"
            text += "".join(f"![{name}]({name}.svg)\n\n" for name in charts.draw(folder, part, parts[part]))
            text += written(parts[part])
    path = folder / "README.md"
    remarks = path.read_text().partition("\n## Remarks\n")[2] if path.exists() else ""
    path.write_text(text + (f"\n## Remarks\n{remarks}" if remarks else ""))
