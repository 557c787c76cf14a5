"""A record's charts, as small SVG files."""

import matplotlib
from matplotlib import pyplot

matplotlib.use("svg")
# Text stays text, and the same figures give the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "alexnet", "font.size": 9})
OURS, PEER = "#c2410c", "#475569"


def draw(folder, part, rows):
    """Draws what there is to draw of a part. The charts' names."""
    rows = [row for row in rows if "error" not in row]
    charts = {
        "train": {"train": lambda: times(rows)},
        "infer": {"infer": lambda: times(rows)},
        "scaling": {"batches": lambda: batches(rows), "widths": lambda: widths(rows)},
    }.get(part, {})
    for name, chart in charts.items():
        figure = chart()
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        pyplot.close(figure)
    return list(charts)


def from_zero(axis):
    axis.set_ylim(0, 1.05 * axis.dataLim.y1)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")


def panels(count, height=3.2):
    return pyplot.subplots(1, count, figsize=(4.6 * count, height), layout="constrained", squeeze=False)


def times(rows):
    """Images per second of every process, a dot each, a panel for each batch size."""
    sizes = list(dict.fromkeys(row["batch"] for row in rows))
    names = list(dict.fromkeys(row["contender"] for row in rows))[::-1]
    figure, axes = panels(len(sizes), 0.9 + 0.3 * len(names))
    for index, (axis, size) in enumerate(zip(axes[0], sizes)):
        for row in (row for row in rows if row["batch"] == size):
            colour = OURS if row["ours"] else PEER
            axis.scatter(row["images_per_s"], names.index(row["contender"]), color=colour, s=18)
        axis.set(title=f"batch {size}", xlabel="images/s", xlim=(0, None))
        axis.set(ylim=(-0.5, len(names) - 0.5))
        axis.set_yticks(range(len(names)), names if index == 0 else [""] * len(names))
        axis.grid(alpha=0.3)
    return figure


def batches(rows):
    """Images per second over batch sizes."""
    figure, axes = panels(2)
    rows = [row for row in rows if row["width"] == 1]
    threads = max(row["threads"] for row in rows)
    for axis, task in zip(axes[0], ["train", "infer"]):
        for name, colour in [("alexnet f32", OURS), ("PyTorch f32", PEER)]:
            runs = [row for row in rows if row["task"] == task and row["contender"] == name]
            points = {row["batch"]: row["images_per_s"] for row in runs if row["threads"] == threads}
            axis.plot(*zip(*sorted(points.items())), "o-", color=colour, markersize=3, label=name)
        axis.set(title=task, xlabel="batch", ylabel="images/s", xscale="log")
        ticks = [1, 2, 4, 8, 16, 32, 64, 128, 256]
        axis.set_xticks(ticks, ticks)
        axis.minorticks_off()
        from_zero(axis)
    return figure


def widths(rows):
    """Effective GFLOP/s over widths, and images per second over threads, in batches of 32."""
    figure, axes = panels(2)
    rows = [row for row in rows if row["ours"] and row["batch"] == 32]
    threads = max(row["threads"] for row in rows)
    for task, mark in [("train", "o-"), ("infer", "s--")]:
        runs = [row for row in rows if row["task"] == task]
        rates = {row["width"]: row["gflops"] for row in runs if row["threads"] == threads}
        axes[0][0].plot(*zip(*sorted(rates.items())), mark, color=OURS, markersize=4, label=task)
        images = {row["threads"]: row["images_per_s"] for row in runs if row["width"] == 1}
        axes[0][1].plot(*zip(*sorted(images.items())), mark, color=OURS, markersize=4, label=task)
    axes[0][0].set(xlabel="width", ylabel="effective GFLOP/s")
    axes[0][1].set(xlabel="threads", ylabel="images/s", xticks=range(1, threads + 1))
    for axis in axes[0]:
        from_zero(axis)
    return figure
