from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from recsys_core import _core, errors, ops


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_widest_level_is_the_default() -> None:
    done = run_python("from recsys_core import ops; print(ops.isa())", RECSYS_ISA="")
    assert done.stdout.strip() == ops.available_isas()[-1], done.stderr


def test_the_environment_chooses_the_level(isa: str) -> None:
    done = run_python("from recsys_core import ops; print(ops.isa())", RECSYS_ISA=isa)
    assert done.stdout.strip() == isa, done.stderr


def test_an_unknown_level_in_the_environment_is_an_error_that_names_the_known_ones() -> None:
    done = run_python("from recsys_core import ops; ops.topk([[1]], [[1]], 1)", RECSYS_ISA="mmx")
    expected = f"RECSYS_ISA must be an instruction set available on this machine ({', '.join(ops.available_isas())})"
    assert f'recsys_core.errors.DeviceError: {expected}, got "mmx"' in done.stderr


def test_setting_an_unknown_level_changes_nothing() -> None:
    before = ops.isa()
    with pytest.raises(errors.DeviceError, match="baseline"):
        _core._set_isa("mmx")
    assert ops.isa() == before


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_threads_honour_the_affinity_mask() -> None:
    code = (
        "import os; from recsys_core import ops; "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(ops.max_threads())"
    )
    assert run_python(code).stdout.strip() == "1"
    assert 1 <= ops.max_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
@pytest.mark.parametrize(
    "call",
    [
        "ops.slim(data, l1=1.0, l2=1.0, callback=lift)",
        "ops.als(data, 5, n_iterations=3, solver='cholesky', callback=lift)",
        "ops.als(data, 5, n_iterations=3, solver='cg', callback=lift)",
        "ops.bpr(data, 5, n_epochs=3, callback=lift)",
    ],
)
def test_processors_that_come_free_during_a_fit_do_no_harm(call: str) -> None:
    code = f"""
import os
import scipy.sparse as sp
from recsys_core import ops
every = os.sched_getaffinity(0)
def lift(*progress):
    os.sched_setaffinity(0, every)
data = sp.random(2000, 400, 0.05, "csr", "float32", random_state=0)
os.sched_setaffinity(0, {{min(every)}})
{call}
assert os.sched_getaffinity(0) == every
print("done")
"""
    done = run_python(code)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_threads_of_its_own() -> None:
    code = """
import os
import numpy as np
from recsys_core import ops
items = np.random.default_rng(0).standard_normal((20_000, 32), dtype=np.float32)
index = ops.ItemIndex(items)
before = index.topk(items[:50], 10, n_threads=4).indices
child = os.fork()
if child == 0:
    after = index.topk(items[:50], 10, n_threads=4).indices
    os._exit(0 if (after == before).all() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (index.topk(items[:50], 10, n_threads=4).indices == before).all()
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_gil_is_released_while_the_core_works() -> None:
    # While one thread is inside the core, this one must get to run Python: it sees the call both begun and not done.
    items = np.random.default_rng(0).standard_normal((100_000, 64), dtype=np.float32)
    index = ops.ItemIndex(items)
    state = {"begun": False, "done": False}

    def work() -> None:
        state["begun"] = True
        index.topk(items[:500], 10, n_threads=1)
        state["done"] = True

    worker = threading.Thread(target=work)
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    ticks = 0
    try:
        worker.start()
        while not state["done"]:
            ticks += state["begun"]
            time.sleep(1e-3)
    finally:
        sys.setswitchinterval(switch_interval)
        worker.join()
    assert ticks >= 5


def test_calls_from_many_threads_at_once_agree() -> None:
    rng = np.random.default_rng(0)
    index = ops.ItemIndex(rng.standard_normal((20_000, 16), dtype=np.float32))
    queries = rng.standard_normal((64, 16), dtype=np.float32)
    want = index.topk(queries, 10)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):
            got = index.topk(queries, 10, n_threads=1 + number % 4)
            if not (np.array_equal(got.indices, want.indices) and np.array_equal(got.scores, want.scores)):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
