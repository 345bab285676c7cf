"""Top-k, ALS, BPR, WARP and a training step on a CUDA device beside torch, faiss, cuVS and implicit, where installed.

    python benchmarks/bench_cuda.py [--parts check,topk,als,tiles,sgd,step] [--seconds 540] [--repeats N]
    python benchmarks/bench_cuda.py --emulated build/emulated      # a dry run of every line, with tiny sizes

`check` comes first: random inputs of odd sizes, in memory that was filled with NaN where torch can do that, against
float64, and a failure ends the run.  What is timed is checked too: top-k against the exact scores in float64 of a
sample of queries, ALS against the objective, BPR and WARP by the share of pairs that end in the right order, the step
by its loss and gradients.  `tiles` fills the device's memory, so that the factors of ALS come from the host; `step`
trains the model sasrec.  Contenders take turns; times are medians with the range, of synchronized calls on data that
already lies on the device.  Effective rate is 2 * queries * items * factors operations over the time, whatever was
really computed.  A part that would begin after the deadline is named and left out.  Without a device it says why and
ends.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cuda_checks import check_all
from cuda_factorization import bench_als, bench_sgd, bench_tiles
from cuda_timing import version
from cuda_topk import bench_topk
from cuda_training_step import bench_step

from recsys_core import ops

TOPK = [(8192, 1_000_000, 128, 100), (1024, 1_000_000, 64, 10), (1, 1_000_000, 64, 10), (8192, 26_744, 128, 100)]


def parts_of(tiny: bool, repeats: int) -> dict[str, Callable[[], None]]:
    """Everything that can be run, by name, in order."""
    matrix = (60, 40, 600) if tiny else (138_493, 26_744, 20_000_000)
    topk = [(5, 600, 8, 10)] if tiny else TOPK
    steps = [(2, 6, 50, 8)] if tiny else [(128, 50, 26_744, 64), (128, 200, 26_744, 256), (64, 200, 500_000, 64)]
    return {
        "check": lambda: check_all(tiny),
        "topk": lambda: [bench_topk(*shape, repeats) for shape in topk] and None,
        "als": lambda: bench_als(matrix, (8,) if tiny else (64, 128), repeats),
        "tiles": lambda: bench_tiles(matrix, 8 if tiny else 128, repeats),
        "sgd": lambda: bench_sgd(matrix, repeats, 0.0 if tiny else 0.9),
        "step": lambda: bench_step(steps, repeats),
    }


def load_emulation(folder: str) -> None:
    """Let a module built over an emulation of a device (`make test-cuda`) stand for the real one."""
    spec = importlib.util.spec_from_file_location("recsys_core._cuda", next(Path(folder).glob("_cuda*.so")))
    sys.modules["recsys_core._cuda"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["recsys_core._cuda"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="check,topk,als,tiles,sgd,step")
    parser.add_argument("--seconds", type=float, default=540, help="begin no part after so many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--emulated", metavar="FOLDER", help="a dry run over an emulated device; its times mean nothing"
    )
    arguments = parser.parse_args()
    began = time.perf_counter()
    if arguments.emulated:
        load_emulation(arguments.emulated)
    state = ops.cuda_state()
    if state.problem is not None:
        print(f"nothing to measure: {state.problem}")
        return 0
    card = next(device for device in state.devices if device.problem is None)
    packages = {name: version(name) for name in ("numpy", "torch", "faiss-gpu-cu12", "cuvs-cu13", "implicit")}
    print(f"{card.name}, driver for CUDA {state.driver}, built with {state.runtime}; {packages}")
    parts = parts_of(arguments.emulated is not None, 1 if arguments.emulated else arguments.repeats)
    for name in arguments.parts.split(","):
        spent = time.perf_counter() - began
        if spent > arguments.seconds:
            print(f"{name} is left out: {spent:.0f} s have passed")
            continue
        print(f"-- {name}, after {spent:.0f} s", flush=True)
        parts[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
