# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeshift.core.errors import BadData, BadPortfolio, BadValue, FolderTaken, NotFinite
from edgeshift.core.progress import Silent, Step
from edgeshift.train import METHODS, Level, Task, Training, run_levels
from edgeshift.train.loop import has_bf16

LEVELS = (1.0, 0.5, 0.2)
# Levels of a method that can not make those: one of four weights is the least that N:M keeps.
OWN_LEVELS = {"n_m": (1.0, 0.5, 0.25), "all_in_one": (1.0, 0.6, 0.4)}
STEPS = 20  # per level: 2 epochs of 600 images in batches of 64


class Stop(KeyboardInterrupt):
    """Ctrl-C."""


class StopAt(Silent):
    """Interrupts at one step, counted over all levels."""

    def __init__(self, at: int) -> None:
        self.left = at

    @contextmanager
    def task(self, says: str, total: int) -> Iterator[Step]:
        def step(done: int = 1, *, note: str = "") -> None:
            self.left -= done
            if self.left <= 0:
                raise Stop

        yield step


def run(task: Task, training: Training, folder: Path, **options: object) -> list[Level]:
    levels = options.pop("levels", LEVELS)
    method = METHODS.make(str(options.pop("method", "iterative_magnitude")), **options)
    return list(run_levels(method, task, training, levels, folder, Silent()))  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.safetensors"))}


def test_a_network_learns_the_digits(task: Task, training: Training, tmp_path: Path) -> None:
    level = run(task, replace(training, epochs=8), tmp_path, levels=(1.0,))[0]
    assert level.validation_accuracy > 0.8
    assert level.curve[-1]["loss"] < level.curve[0]["loss"] / 2


def test_the_curve_has_a_record_for_each_epoch(task: Task, training: Training, tmp_path: Path) -> None:
    curve = run(task, training, tmp_path, levels=(1.0,))[0].curve
    assert [record["epoch"] for record in curve] == [0, 1]
    assert set(curve[0]) == {
        "epoch",
        "loss",
        "accuracy",
        "validation_accuracy",
        "lr",
        "seconds",
        "training_macs",
        "dense_training_macs",
    }
    lines = (tmp_path / "level-00.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [dict(record) for record in curve]


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_last_epoch_of_the_curve_is_the_accuracy_of_the_level(
    task: Task, training: Training, tmp_path: Path, epochs: int
) -> None:
    level = run(task, replace(training, epochs=epochs), tmp_path, levels=(1.0,))[0]
    assert level.validation_accuracy == level.curve[-1]["validation_accuracy"]


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_state_fits_the_factory(
    task: Task, training: Training, tmp_path: Path, channels_last: bool
) -> None:
    level = run(task, replace(training, channels_last=channels_last), tmp_path, levels=(1.0, 0.5))[1]
    task.factory().load_state_dict(level.state)
    assert all(tensor.is_contiguous() for tensor in level.state.values())


def test_the_same_seed_gives_the_same_bytes(task: Task, training: Training, tmp_path: Path) -> None:
    for name in "ab":
        run(task, training, tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_another_seed_gives_other_bytes(task: Task, training: Training, tmp_path: Path) -> None:
    run(task, training, tmp_path / "a", levels=(1.0,))
    run(task, replace(training, seed=1), tmp_path / "b", levels=(1.0,))
    assert files(tmp_path / "a") != files(tmp_path / "b")


def test_the_random_state_of_the_caller_does_not_matter_and_stays(
    task: Task, training: Training, tmp_path: Path
) -> None:
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        run(task, training, tmp_path / name, levels=(1.0,))
        assert torch.equal(torch.get_rng_state(), before)
    assert files(tmp_path / "a") == files(tmp_path / "b")


ATS = [1, 7, STEPS // 2, STEPS // 2 + 1, STEPS, STEPS + 13, 2 * STEPS + 11]
# All their training is in the first level: they end before the later stops.
AT_ONCE = ("all_in_one", "supernet")
STOPS = [(m, at) for m in METHODS.names() for at in ATS if m not in AT_ONCE or at <= STEPS]


@pytest.mark.parametrize(("method", "at"), STOPS)
def test_a_run_stopped_at_any_step_goes_on_with_the_same_bytes(
    task: Task,
    training: Training,
    tmp_path: Path,
    whole: Callable[[str], dict[str, bytes]],
    method: str,
    at: int,
) -> None:
    levels = OWN_LEVELS.get(method, LEVELS)
    with pytest.raises(Stop):
        list(run_levels(METHODS.make(method), task, training, levels, tmp_path, StopAt(at)))
    run(task, training, tmp_path, method=method, levels=levels)
    assert files(tmp_path) == whole(method)


@pytest.fixture(scope="module")
def whole(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """The files of a run that nobody stopped, by method."""
    known: dict[str, dict[str, bytes]] = {}

    def of(method: str) -> dict[str, bytes]:
        if method not in known:
            training = Training(
                epochs=2,
                batch_size=64,
                lr=0.2,
                warmup_epochs=0.5,
                augment="crop",
                threads=1,
                checkpoint_seconds=0,
            )
            folder = tmp_path_factory.mktemp(method)
            run(task, training, folder, method=method, levels=OWN_LEVELS.get(method, LEVELS))
            known[method] = files(folder)
        return known[method]

    return of


CHILD = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import conftest
from pathlib import Path
from edgeshift.core import files
from edgeshift.core.progress import Silent
from edgeshift.train import METHODS, Training, run_levels

class Killer(Silent):
    def __init__(self, at): self.left = at
    def task(self, says, total):
        from contextlib import contextmanager
        @contextmanager
        def inner():
            def step(done=1, *, note=""):
                self.left -= done
                if self.left <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            yield step
        return inner()

if {mid_write}:  # the 7th whole file is level-00.json: killed when written, not yet renamed
    replace, count = os.replace, [0]
    def killed(a, b):
        count[0] += 1
        if count[0] == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(a, b)
    os.replace = killed
training = Training(
    epochs=2, batch_size=64, lr=0.2, warmup_epochs=0.5, augment="crop", threads=1, checkpoint_seconds=0
)
method = METHODS.make("iterative_magnitude", rewind_steps=3)
task, folder = conftest.task.__wrapped__(), Path({folder!r})
list(run_levels(method, task, training, (1.0, 0.5, 0.2), folder, Killer({at})))
"""


def killed(folder: Path, at: int, *, mid_write: bool = False) -> None:
    code = CHILD.format(tests=str(Path(__file__).parent), folder=str(folder), at=at, mid_write=mid_write)
    child = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert child.returncode == -signal.SIGKILL


def test_a_run_that_was_killed_ends_with_the_same_bytes(
    task: Task, training: Training, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    killed(folder, 10**6, mid_write=True)
    assert (folder / "level-00.safetensors").exists()
    assert not (folder / "level-00.json").exists()
    killed(folder, 20 + 15)  # level 0 from its saved epoch, level 1 from step 3 into the second epoch
    assert (folder / "part-01.safetensors").exists()
    run(task, training, folder, rewind_steps=3)
    run(task, training, tmp_path / "whole", rewind_steps=3)
    assert files(folder) == files(tmp_path / "whole")


def test_finished_levels_are_read_not_trained(task: Task, training: Training, tmp_path: Path) -> None:
    first = run(task, training, tmp_path)
    again = list(run_levels(METHODS.make("iterative_magnitude"), task, training, LEVELS, tmp_path, StopAt(1)))
    assert [level.curve for level in again] == [level.curve for level in first]
    assert all(torch.equal(again[2].state[n], t) for n, t in first[2].state.items())


def test_more_levels_may_be_asked_for_later(task: Task, training: Training, tmp_path: Path) -> None:
    run(task, training, tmp_path / "a", levels=(1.0, 0.5), rewind_steps=5)
    run(task, training, tmp_path / "a", rewind_steps=5)
    run(task, training, tmp_path / "b", rewind_steps=5)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_run_with_other_options_is_not_continued(task: Task, training: Training, tmp_path: Path) -> None:
    run(task, training, tmp_path, levels=(1.0,))
    with pytest.raises(FolderTaken, match="must hold a run with these options and data, got another run"):
        run(task, replace(training, lr=0.3), tmp_path, levels=(1.0,))


def test_a_run_with_other_levels_is_not_continued(task: Task, training: Training, tmp_path: Path) -> None:
    run(task, training, tmp_path, levels=(1.0, 0.5))
    with pytest.raises(FolderTaken, match=r"level 1 in .* must keep 0\.4, got 0\.5"):
        run(task, training, tmp_path, levels=(1.0, 0.4))


def test_how_often_is_saved_does_not_make_another_run(task: Task, training: Training, tmp_path: Path) -> None:
    run(task, training, tmp_path, levels=(1.0,))
    run(task, replace(training, checkpoint_seconds=100.0), tmp_path, levels=(1.0,))


def test_a_folder_of_somebody_else_is_left_alone(task: Task, training: Training, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FolderTaken, match=r"must be empty or hold a run, got thesis\.txt"):
        run(task, training, tmp_path)


def test_a_level_whose_file_was_changed_is_refused(task: Task, training: Training, tmp_path: Path) -> None:
    run(task, training, tmp_path, levels=(1.0,))
    path = tmp_path / "level-00.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(
        BadPortfolio, match=r"level-00.safetensors must have the sha256 of its level's record"
    ):
        run(task, training, tmp_path, levels=(1.0,))


def test_a_loss_that_is_nan_stops_and_keeps_the_last_epoch(
    task: Task, training: Training, tmp_path: Path
) -> None:
    class Breaks(nn.Module):
        """Gives NaN from its 16th training step on: in the second epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = task.factory()
            self.steps = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.steps += self.training
            return self.inner(x) * (float("nan") if self.steps > 15 else 1.0)

    with pytest.raises(NotFinite, match="loss must be finite, got nan in epoch 1 of level 0; lower lr"):
        run(replace(task, factory=Breaks), training, tmp_path)
    assert (tmp_path / "part-00.safetensors").exists()


def test_a_rate_that_is_far_too_high_stops_with_the_epoch(
    task: Task, training: Training, tmp_path: Path
) -> None:
    with pytest.raises(NotFinite, match=r"must be finite, got .* level 0"):
        run(task, replace(training, lr=1e30, warmup_epochs=0.0), tmp_path)


def test_weights_that_are_nan_are_refused_by_name(task: Task, training: Training, tmp_path: Path) -> None:
    def broken() -> nn.Module:
        model = task.factory()
        nn.init.constant_(model[3].weight, float("nan"))
        return model

    with pytest.raises(
        NotFinite, match=r"weights of the factory must be finite, got NaN or infinity in 3\.weight"
    ):
        run(replace(task, factory=broken), training, tmp_path)


def test_a_factory_that_gives_other_weights_each_time_cannot_go_on(
    task: Task, training: Training, tmp_path: Path
) -> None:
    drawn = iter(range(10))

    def fickle() -> nn.Module:
        model = task.factory()
        nn.init.constant_(model[0].weight, next(drawn))
        return model

    run(replace(task, factory=fickle), training, tmp_path, levels=(1.0,))
    with pytest.raises(FolderTaken, match="got another run"):
        run(replace(task, factory=fickle), training, tmp_path, levels=(1.0, 0.5))


@pytest.mark.parametrize("levels", [(), (1.0, 1.0), (1.0, 0.0), (0.5, 1.0), (1.1, 0.5), (1.0, float("nan"))])
def test_levels_must_fall(task: Task, training: Training, tmp_path: Path, levels: tuple[float, ...]) -> None:
    with pytest.raises(BadValue, match="levels must be kept fractions that fall"):
        run(task, training, tmp_path, levels=levels)


def test_a_task_without_images_is_refused(task: Task, training: Training, tmp_path: Path) -> None:
    empty = replace(task.train, images=task.train.images[:0], labels=task.train.labels[:0])
    with pytest.raises(BadData, match="must be at least one, got"):
        run(replace(task, train=empty), training, tmp_path)


def test_a_task_needs_a_std_for_each_channel(task: Task, training: Training, tmp_path: Path) -> None:
    with pytest.raises(
        BadValue, match=r"std must be 1 numbers above 0, one per input channel, got \(0\.0,\)"
    ):
        run(replace(task, std=(0.0,)), training, tmp_path)


def test_a_trained_network_may_skip_level_0(task: Task, training: Training, tmp_path: Path) -> None:
    levels = run(task, replace(training, first_epochs=0, recalibrate=2), tmp_path, levels=(1.0, 0.5))
    assert levels[0].curve == ()
    assert all(torch.equal(t, levels[0].state[n]) for n, t in task.factory().state_dict().items())
    assert len(levels[1].curve) == 2


def test_label_smoothing_changes_the_loss(task: Task, training: Training, tmp_path: Path) -> None:
    plain, smooth = (
        run(task, replace(training, label_smoothing=s), tmp_path / str(s), levels=(1.0,))[0]
        for s in (0.0, 0.2)
    )
    assert smooth.curve[-1]["loss"] > plain.curve[-1]["loss"]


def test_recalibration_leaves_the_weights(task: Task, training: Training, tmp_path: Path) -> None:
    plain, again = (
        run(task, replace(training, recalibrate=n), tmp_path / str(n), levels=(1.0,))[0].state for n in (0, 3)
    )
    changed = [name for name in plain if not torch.equal(plain[name], again[name])]
    assert changed
    assert all("running" in name or "tracked" in name for name in changed)


def test_distillation_learns_from_a_teacher(task: Task, training: Training, tmp_path: Path) -> None:
    taught = replace(training, distil=1.0, epochs=6)
    teacher = run(task, replace(training, epochs=8), tmp_path / "teacher", levels=(1.0,))[0]

    def trained() -> nn.Module:
        model = task.factory()
        model.load_state_dict(teacher.state)
        return model

    # Labels do not count at distil=1, so what is learnt comes from the teacher; wrong labels do not hurt.
    wrong = replace(task.train, labels=(task.train.labels + 1) % 10)
    student = run(replace(task, train=wrong, teacher=trained), taught, tmp_path / "student", levels=(1.0,))[0]
    assert student.validation_accuracy > 0.6


class Counted(nn.Module):
    """A teacher that counts the images it is asked about."""

    asked = 0

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Counted.asked += len(x)
        outputs: torch.Tensor = self.network(x)
        return outputs


@pytest.mark.parametrize(("augment", "views"), [("crop", 2), ("none", 1)])
def test_a_teacher_is_asked_once_about_each_view(
    task: Task, training: Training, tmp_path: Path, augment: str, views: int
) -> None:
    taught = replace(task, teacher=lambda: Counted(task.factory()))
    kept = replace(training, epochs=5, distil=0.5, distil_views=2, augment=augment)
    asked = []
    for name, options in (("anew", replace(kept, distil_views=0)), ("kept", kept)):
        Counted.asked = 0
        run(taught, options, tmp_path / name, levels=(1.0, 0.5))
        asked.append(Counted.asked)
    # Two levels of five epochs of 600 images; two views, which both levels share, of as many.
    assert asked == [6000, 600 * views]
    assert len(list((tmp_path / "kept").glob("teacher-*.safetensors"))) == views


def test_kept_answers_are_those_that_the_teacher_would_give(
    task: Task, training: Training, tmp_path: Path
) -> None:
    # Of images that are not augmented there is one view; asked anew or once, the losses are the same but for the
    # order of sums in batches of other images.
    taught = replace(task, teacher=task.factory)
    curves = [
        run(
            taught,
            replace(training, augment="none", distil=0.5, distil_views=views),
            tmp_path / str(views),
            levels=(1.0,),
        )[0].curve
        for views in (0, 1)
    ]
    assert [r["loss"] for r in curves[1]] == pytest.approx([r["loss"] for r in curves[0]], rel=1e-4)


@pytest.mark.parametrize("at", [5, 15, 25, 35])
def test_a_run_stopped_while_or_after_a_teacher_is_asked_ends_with_the_same_bytes(
    task: Task, training: Training, tmp_path: Path, at: int
) -> None:
    # Ten steps for each view, then ten for each epoch.
    options = replace(training, distil=0.5, distil_views=2, augment="crop", checkpoint_seconds=0.0)
    taught = replace(task, teacher=partial(task.factory, 7))
    method = METHODS.make("iterative_magnitude")
    run(taught, options, tmp_path / "whole", levels=(1.0,))
    with pytest.raises(Stop):
        list(run_levels(method, taught, options, (1.0,), tmp_path / "stopped", StopAt(at)))
    assert list((tmp_path / "stopped").glob("teacher-*")) == [
        tmp_path / "stopped" / f"teacher-{view:02d}.safetensors" for view in range(min(2, at // 10))
    ]
    run(taught, options, tmp_path / "stopped", levels=(1.0,))
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_kept_answers_that_cannot_be_read_are_refused_by_name(
    task: Task, training: Training, tmp_path: Path
) -> None:
    options = replace(training, distil=0.5, distil_views=1)
    taught = replace(task, teacher=task.factory)
    run(taught, options, tmp_path, levels=(1.0,))
    (tmp_path / "teacher-00.safetensors").write_bytes(b"half")
    with pytest.raises(BadPortfolio, match=r"teacher-00\.safetensors must be a safetensors file"):
        run(taught, options, tmp_path, levels=(1.0, 0.5))


def test_without_a_teacher_level_0_teaches_the_others(task: Task, training: Training, tmp_path: Path) -> None:
    plain = run(task, training, tmp_path / "a", levels=(1.0, 0.5))
    taught = run(task, replace(training, distil=0.5), tmp_path / "b", levels=(1.0, 0.5))
    assert plain[0].curve[-1]["loss"] == taught[0].curve[-1]["loss"]
    assert plain[1].curve[-1]["loss"] != taught[1].curve[-1]["loss"]


def test_bf16_is_decided_once_and_kept(task: Task, training: Training, tmp_path: Path) -> None:
    run(task, replace(training, bf16="on"), tmp_path / "on", levels=(1.0,))
    run(task, training, tmp_path / "auto", levels=(1.0,))
    run(task, replace(training, bf16="trial"), tmp_path / "trial", levels=(1.0,))
    facts = {n: json.loads((tmp_path / n / "run.json").read_text())["facts"] for n in ("on", "auto", "trial")}
    assert facts["on"] == {"threads": 1, "bf16": True, "device": "cpu"}
    assert facts["auto"] == {"threads": 1, "bf16": False, "device": "cpu"}
    assert has_bf16() or not facts["trial"]["bf16"]
    assert files(tmp_path / "on") != files(tmp_path / "auto")


def test_the_thread_count_of_the_first_start_counts(task: Task, training: Training, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run(task, replace(training, threads=None), tmp_path, levels=(1.0,))
    torch.set_num_threads(2)
    run(task, replace(training, threads=None), tmp_path, levels=(1.0, 0.5))
    torch.set_num_threads(before)
    assert json.loads((tmp_path / "run.json").read_text())["facts"]["threads"] == 1
