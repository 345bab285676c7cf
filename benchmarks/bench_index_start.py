"""How a process that serves many items starts: with the index built from the factors, and with it mapped from a file.

    python benchmarks/bench_index_start.py [--items N] [--factors D] [--repeats N]

Every start is a process of its own, which imports `recsys_core.ops`, makes its index and answers one query by the
compact scan.  The clock starts before the index is made.  Memory is what the process alone has (``Private_Dirty`` of
Linux's ``smaps_rollup``) and all that it touches (resident), which counts pages of the file that others share or that
the system may drop.  Answers are compared before anything is printed.  Another process serves the file meanwhile, so
that it is in memory; the first process on a machine reads it from the disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from recsys_core import ops

START = """
import json, sys, time
from pathlib import Path
import numpy as np
from recsys_core import ops

way, folder, d = sys.argv[1], sys.argv[2], int(sys.argv[3])
queries = np.random.default_rng(1).standard_normal((64, d), dtype=np.float32)
begin = time.perf_counter()
if way == "built":
    index = ops.ItemIndex(np.load(f"{folder}/items.npy"))
elif way == "mapped, plain":
    index = ops.ItemIndex.load(f"{folder}/plain", verify=False)
else:
    index = ops.ItemIndex.load(f"{folder}/whole", mmap="read" not in way, verify="verified" in way)
made = time.perf_counter()
first = index.topk(queries[:1], 10, method="compact")
answered = time.perf_counter()
for _ in range(20):
    ranking = index.topk(queries, 10, method="compact")
times = []
for _ in range(30):
    start = time.perf_counter()
    index.topk(queries[:1], 10, method="compact")
    times.append(time.perf_counter() - start)
memory = dict.fromkeys(("Rss", "Private_Dirty"), 0)
for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
    name, size = line.split(":")
    if name in memory:
        memory[name] = int(size.split()[0]) / 1024
print(json.dumps({
    "made": 1e3 * (made - begin), "first": 1e3 * (answered - begin), "query": 1e3 * sorted(times)[15],
    "private": memory["Private_Dirty"], "resident": memory["Rss"],
    "best": ranking.indices.tolist(),
}))
if "stay" in sys.argv:
    sys.stdout.flush()
    sys.stdin.read()
"""
WAYS = ("built", "mapped, plain", "mapped", "mapped, verified", "read")


def start(way: str, folder: str, d: int) -> dict[str, float]:
    run = subprocess.run([sys.executable, "-c", START, way, folder, str(d)], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(run.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        items = np.random.default_rng(0).standard_normal((options.items, options.factors), dtype=np.float32)
        np.save(f"{folder}/items.npy", items)
        index = ops.ItemIndex(items)
        index.save(f"{folder}/plain", compact=False)
        index.save(f"{folder}/whole")
        del index, items
        sizes = {name: Path(folder, name).stat().st_size / 2**20 for name in ("plain", "whole")}
        print(f"{options.items} x {options.factors}; files of {sizes['plain']:.0f} and {sizes['whole']:.0f} MiB")
        # Somebody else who serves the file, whose pages are then not private to the process that is measured.
        other = subprocess.Popen(
            [sys.executable, "-c", START, "mapped", folder, str(options.factors), "stay"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        other.stdout.readline()
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(options.repeats):
            for way in WAYS:
                runs[way].append(start(way, folder, options.factors))
        other.communicate()
        answers = [run.pop("best") for way in WAYS for run in runs[way]]
        assert all(answer == answers[0] for answer in answers)
        print(f"{'':18}{'index made':>12}{'first answer':>14}{'a query':>10}   ms{'private':>10}{'resident':>10}   MiB")
        for way in WAYS:
            made, first, query, private, resident = (
                statistics.median(run[name] for run in runs[way])
                for name in ("made", "first", "query", "private", "resident")
            )
            print(f"{way:18}{made:12.1f}{first:14.1f}{query:10.2f}   {private:13.0f}{resident:10.0f}")


if __name__ == "__main__":
    main()
