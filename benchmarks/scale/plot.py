"""Draw the figures of `make bench-scale`: `plot.py FIGURES.json FOLDER`.

Run in an environment of its own, which has matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure


def _depth(rows: list[dict[str, float]], path: Path) -> None:
    jobs = [row["jobs"] for row in rows]
    figure = Figure(figsize=(12, 3.4))
    left, middle, right = figure.subplots(1, 3)
    for key, label in (("cpu", "worker"), ("server_cpu", "server")):
        left.plot(jobs, [row[key] * 1_000 for row in rows], "o-", label=label)
    left.set(title="CPU for a job", ylabel="microseconds")
    left.legend()
    middle.plot(jobs, [row["stored"] for row in rows], "o-")
    middle.set(title="Memory of a waiting job in Redis", ylabel="bytes")
    for key, label in (("stats", "flowd stats"), ("dlq", "flowd dlq list")):
        right.plot(jobs, [row[key] for row in rows], "o-", label=label)
    right.set(title="A look at the queue", ylabel="seconds")
    right.legend()
    for axes in (left, middle, right):
        axes.set(xscale="log", xlabel="jobs in the queue")
        axes.set_ylim(bottom=0)
    _save(figure, path)


def _shares(shares: list[int], path: Path) -> None:
    figure = Figure(figsize=(6, 3))
    axes = figure.subplots()
    share = sum(shares) / len(shares)
    workers = range(1, len(shares) + 1)
    axes.bar(workers, sorted(shares))
    axes.set_xticks(workers)
    axes.axhline(share, color="black", linewidth=0.8)
    axes.axhline(2 * share, color="black", linewidth=0.8, linestyle="--")
    axes.set(
        title=f"{sum(shares):,} jobs, {len(shares)} workers: share, and twice the share",
        xlabel="worker",
        ylabel="jobs",
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    # Without a version and a date, the same figures are the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Draw into the folder."""
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    folder = Path(sys.argv[2])
    _depth(found["depth"], folder / "scale-depth.png")
    _shares(found["shares"], folder / "scale-balance.png")


if __name__ == "__main__":
    main()
