"""The trainer of the neural plugin: optimization, early stopping, exact resume, and several processes."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from recsys_core.errors import ConfigError, DeviceError, FormatError
from recsys_neural.training import RowBatches, StopTraining, Trainer, TrainingConfig, fit_held_out
from recsys_neural.training.trainer import learning_rate_factor


class Regression(torch.nn.Module):
    """Least squares with dropout, so that the result depends on the random state of torch."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(width, 1)
        self.dropout = torch.nn.Dropout(0.3)

    def forward(self, rows, answers):
        return (self.linear(self.dropout(rows)).squeeze(1) - answers).square().mean()


def make_batches(seed: int = 0) -> RowBatches:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(50, 3, generator=generator)
    return RowBatches(rows, rows @ torch.tensor([1.0, -2.0, 3.0]), batch_size=16)


def make_objective(trainer: Trainer) -> Regression:
    with trainer.seeded():
        return Regression()


def train(callbacks=(), validate=None, **settings):
    trainer = Trainer(TrainingConfig(**{"n_epochs": 6, "learning_rate": 0.05, **settings}), callbacks)
    objective = make_objective(trainer)
    return objective, trainer.fit(objective, make_batches(), validate)


def assert_same_weights(one, other):
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def stop_after(epoch):
    def callback(report):
        if report.epoch == epoch:
            raise KeyboardInterrupt

    return callback


def test_training_learns_and_reports():
    objective, result = train(n_epochs=80)
    assert [report.epoch for report in result.curve] == list(range(1, 81))
    assert result.curve[-1].loss < result.curve[0].loss / 2
    assert result.best_epoch == 80
    assert not objective.training
    weights = objective.linear.weight[0].tolist()
    assert np.sign(weights).tolist() == [1, -1, 1]


def test_a_seed_repeats_and_another_differs_and_torch_is_left_alone():
    state = torch.get_rng_state()
    first, second, other = train()[0], train()[0], train(random_state=1)[0]
    assert_same_weights(first, second)
    assert not torch.equal(first.linear.weight, other.linear.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_threads_are_put_back():
    before = torch.get_num_threads()
    seen = []
    train([lambda report: seen.append(torch.get_num_threads())], n_threads=before + 1)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("killed_after", [1, 3])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_killed_training_resumes_to_the_same_bits(tmp_path, killed_after, schedule):
    settings = {"checkpoint": str(tmp_path / "deep" / "state.pt"), "schedule": schedule, "warmup_steps": 5}
    whole, whole_result = train(**{**settings, "checkpoint": None})
    # The callback runs before the epoch's checkpoint is written: a kill at the worst moment.
    with pytest.raises(KeyboardInterrupt):
        train([stop_after(killed_after + 1)], **settings)
    resumed_epochs = []
    resumed, result = train([lambda report: resumed_epochs.append(report.epoch)], **settings)
    assert resumed_epochs == list(range(killed_after + 1, 7))
    assert_same_weights(whole, resumed)
    assert [r.loss for r in result.curve] == [r.loss for r in whole_result.curve]
    assert list(tmp_path.rglob("*.draft")) == []


def test_resume_keeps_the_best_weights_and_the_patience(tmp_path):
    scores = [0.1, 0.5, 0.2, 0.3, 0.4, 0.4]
    settings = {"checkpoint": str(tmp_path / "state.pt"), "patience": 3, "patience_steps": 0}
    whole, whole_result = train(validate=iter(scores).__next__, **{**settings, "checkpoint": None})
    with pytest.raises(KeyboardInterrupt):
        train([stop_after(4)], validate=iter(scores).__next__, **settings)
    resumed, result = train(validate=iter(scores[3:]).__next__, **settings)
    assert_same_weights(whole, resumed)
    assert result.best_epoch == whole_result.best_epoch == 2
    assert [report.score for report in result.curve] == scores[:5]


def test_a_finished_training_is_taken_as_it_is(tmp_path):
    settings = {"checkpoint": str(tmp_path / "state.pt")}
    first = train(**settings)[0]
    epochs = []
    assert_same_weights(first, train([epochs.append], **settings)[0])
    assert epochs == []


def test_a_checkpoint_of_other_settings_or_data_is_refused(tmp_path):
    path = str(tmp_path / "state.pt")
    train(checkpoint=path)
    with pytest.raises(ConfigError, match="other settings or other data"):
        train(checkpoint=path, learning_rate=0.01)
    trainer = Trainer(TrainingConfig(n_epochs=6, learning_rate=0.05, checkpoint=path))
    with pytest.raises(ConfigError, match="other settings or other data"):
        trainer.fit(make_objective(trainer), make_batches(seed=1))
    Path(path).write_bytes(b"not a checkpoint")
    with pytest.raises(FormatError, match="is not a checkpoint"):
        train(checkpoint=path)


def test_early_stopping_keeps_the_best_epoch():
    scores = iter([0.1, 0.3, 0.2, 0.25, 0.9])
    kept = {}

    def remember(report):
        kept[report.epoch] = objective.linear.weight.detach().clone()

    trainer = Trainer(TrainingConfig(n_epochs=10, patience=2, patience_steps=0, learning_rate=0.05), [remember])
    objective = make_objective(trainer)
    result = trainer.fit(objective, make_batches(), lambda: next(scores))
    assert result.best_epoch == 2
    assert len(result.curve) == 4
    assert torch.equal(objective.linear.weight, kept[2])
    assert not torch.equal(objective.linear.weight, kept[4])


def test_patience_lasts_its_steps_where_epochs_are_short():
    scores = iter([0.3] + 19 * [0.1])
    config = TrainingConfig(n_epochs=20, patience=2, patience_steps=9, learning_rate=0.05)
    trainer = Trainer(config)
    batches = make_batches()
    assert len(batches) == 4
    result = trainer.fit(make_objective(trainer), batches, lambda: next(scores))
    assert len(result.curve) == 1 + 3  # 8 steps would be too few
    assert result.best_epoch == 1


def test_validation_runs_in_evaluation_mode_without_gradients():
    modes = []
    trainer = Trainer(TrainingConfig(n_epochs=1))
    objective = make_objective(trainer)

    def validate():
        modes.append((objective.training, torch.is_grad_enabled()))
        return 0.0

    trainer.fit(objective, make_batches(), validate)
    assert modes == [(False, False)]


def test_a_callback_may_stop_the_training():
    def stop(report):
        if report.epoch == 3:
            raise StopTraining

    assert len(train([stop])[1].curve) == 3


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.5, 1, 1, 1, 1]), ("linear", [0.5, 1, 1, 2 / 3, 1 / 3]), ("cosine", [0.5, 1, 1, 0.75, 0.25])],
)
def test_the_learning_rate_rises_and_falls(schedule, expected):
    config = TrainingConfig(schedule=schedule, warmup_steps=2)
    assert [learning_rate_factor(config, step, 5) for step in range(5)] == pytest.approx(expected)


def test_the_gradient_is_clipped():
    class Steep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2, 2))

        def forward(self, rows):
            return 1e3 * (self.weight * rows.mean()).sum()

    norms = []
    for clip in (0.0, 1.0):
        trainer = Trainer(TrainingConfig(n_epochs=1, gradient_clip=clip))
        objective = Steep()
        trainer.fit(objective, RowBatches(torch.ones(4), batch_size=4))
        norms.append(float(objective.weight.grad.norm()))
    assert norms == pytest.approx([2e3, 1.0], rel=1e-4)


def test_weight_decay_spares_biases():
    class Still(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 2)

        def forward(self, rows):
            return (self.linear(rows) * 0).sum()

    trainer = Trainer(TrainingConfig(n_epochs=3, weight_decay=0.5, learning_rate=0.1))
    with trainer.seeded():
        objective = Still()
    before = {name: weight.detach().clone() for name, weight in objective.named_parameters()}
    trainer.fit(objective, RowBatches(torch.ones(4, 2), batch_size=4))
    torch.testing.assert_close(objective.linear.weight, before["linear.weight"] * 0.95**3)
    assert torch.equal(objective.linear.bias, before["linear.bias"])


def test_bf16_trains_too():
    plain, rounded = train()[1], train(precision="bf16")[1]
    assert rounded.curve[-1].loss == pytest.approx(plain.curve[-1].loss, rel=0.05)
    assert rounded.curve[-1].loss != plain.curve[-1].loss


def test_a_loss_that_is_no_number_says_what_to_do():
    with pytest.raises(ConfigError, match=r"learning_rate: the loss is (nan|inf) in epoch \d+; lower it from 1e\+30"):
        train(learning_rate=1e30)


def test_an_unknown_device_is_refused():
    with pytest.raises(DeviceError, match="device: expected"):
        Trainer(TrainingConfig(device="abacus"))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cuda"):
            Trainer(TrainingConfig(device="cuda:0"))


def test_the_learning_curve_is_written(tmp_path):
    path = tmp_path / "curves" / "curve.csv"
    scores = iter([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    _, result = train(validate=lambda: next(scores), learning_curve=str(path))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [report.loss for report in result.curve]
    assert [float(row["score"]) for row in rows] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    plot = path.with_suffix(".png")
    if importlib.util.find_spec("matplotlib") is None:
        assert not plot.exists()
    else:
        assert plot.read_bytes().startswith(b"\x89PNG")


def test_refit_trains_anew_on_everything_for_the_best_number_of_epochs(tmp_path):
    from recsys_core.data import Histories
    from recsys_neural.training import Task

    histories = Histories.from_lists([[1, 2, 3]] * 10)
    sizes, progress = [], []
    scores = iter([0.1, 0.3, 0.2, 0.2])

    def make_task(training, held_out):
        sizes.append((len(training.indices), None if held_out is None else len(held_out.targets)))
        rows = torch.ones(len(training.indices), 3)
        return Task(Regression(), RowBatches(rows, rows[:, 0], batch_size=8), held_out and (lambda: next(scores)))

    config = TrainingConfig(
        n_epochs=10, validation=0.5, patience=2, patience_steps=0, refit=True, checkpoint=str(tmp_path / "a.pt")
    )
    _, result = fit_held_out(Trainer(config), histories, 4, make_task, lambda *pair: progress.append(pair))
    assert sizes == [(25, 5), (30, None)]
    assert result.best_epoch == 2
    assert progress == [(1, 20), (2, 20), (3, 20), (4, 20), (11, 20), (12, 20)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-refit.pt", "a.pt"]


@pytest.mark.slow
def test_two_processes_train_to_what_one_does(tmp_path):
    """torchrun with two gloo processes: without dropout, halves of a batch give the whole batch's gradient."""
    script = tmp_path / "job.py"
    script.write_text(
        textwrap.dedent("""
            import os, sys, torch
            from recsys_neural.training import RowBatches, Trainer, TrainingConfig

            class Regression(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.linear = torch.nn.Linear(3, 1)
                def forward(self, rows, answers):
                    return (self.linear(rows).squeeze(1) - answers).square().mean()

            rows = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
            batches = RowBatches(rows, rows.sum(1), batch_size=16)
            scores = iter([0.1, 0.2, 0.3, 0.1, 0.1, 0.1])
            checkpoint = sys.argv[1] + ".pt"
            stop = {"patience": 2, "patience_steps": 0}
            trainer = Trainer(TrainingConfig(n_epochs=6, learning_rate=0.05, checkpoint=checkpoint, **stop))
            with trainer.seeded():
                objective = Regression()
            result = trainer.fit(objective, batches, lambda: next(scores))
            assert result.best_epoch == 3 and len(result.curve) == 5, result
            torch.save(objective.state_dict(), sys.argv[1] + os.environ.get("RANK", ""))
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run([sys.executable, script, one], check=True, env=environment, timeout=120)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*launcher, script, two], check=True, env=environment, timeout=240)
    alone = torch.load(one)
    for rank in "01":
        together = torch.load(f"{two}{rank}")
        for name, weight in alone.items():
            torch.testing.assert_close(together[name], weight, rtol=1e-4, atol=1e-5)
