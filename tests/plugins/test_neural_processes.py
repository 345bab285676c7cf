"""Whole models under torchrun: two gloo processes on one CPU."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.slow

JOB = textwrap.dedent("""
    import os, sys
    import numpy as np
    from recsys_core import Interactions, create
    from recsys_neural.models.two_tower import TwoTower

    rng = np.random.default_rng(0)
    items = (rng.integers(0, 20, 96)[:, None] + np.arange(6)) % 20
    visits = Interactions.from_arrays(np.repeat(np.arange(96), 6), items.ravel(), datetimes=np.tile(np.arange(6), 96))
    common = {"n_factors": 8, "n_epochs": 2, "batch_size": 32, "learning_rate": 0.01, "n_threads": 1}
    models = {
        # Without dropout and drawn negatives, two halves of a batch are the whole one.
        "sasrec": create("sasrec", dropout=0.0, gradient_clip=0.1, refit=True, **common),
        "two_tower": create("two_tower", user_encoder="gru", **common),
    }
    # Exporting takes most of the time of a fit, and is the same with one process.
    TwoTower._form = lambda self, histories, has_features: None
    found = {}
    encoder = models["sasrec"].fit_encoder(visits, lambda done, total: None)
    models["two_tower"].fit_form(visits, lambda done, total: None)
    found["sasrec_factors"] = encoder.item_factors.detach().numpy()
    found["two_tower_factors"] = models["two_tower"].objective_.items.all_vectors().detach().numpy()
    for name, model in models.items():
        found[name + "_losses"] = [report.loss for report in model.curve_]
    np.savez(sys.argv[1] + os.environ.get("RANK", "") + ".npz", **found)
""")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one process finds, and what each of two finds together."""
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "job.py"
    script.write_text(JOB)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, script, folder / "one"], check=True, env=environment, timeout=240)
    subprocess.run([*launcher, script, folder / "two"], check=True, env=environment, timeout=400)
    return [dict(np.load(folder / f"{name}.npz")) for name in ("one", "two0", "two1")]


@pytest.mark.parametrize("name", ["sasrec", "two_tower"])
def test_both_processes_end_with_the_same_model(answers, name):
    _, first, second = answers
    np.testing.assert_array_equal(first[f"{name}_losses"], second[f"{name}_losses"])
    np.testing.assert_array_equal(first[f"{name}_factors"], second[f"{name}_factors"])
    assert len(first[f"{name}_losses"]) == 2


def test_two_processes_report_and_learn_what_one_does(answers):
    one, first, _ = answers
    np.testing.assert_allclose(first["sasrec_losses"], one["sasrec_losses"], rtol=1e-4)
    np.testing.assert_allclose(first["sasrec_factors"], one["sasrec_factors"], atol=1e-4)
