"""Training on the CPU: reproducible, resumable, interruptible, and safe on a full disk."""

from __future__ import annotations

import errno
import json
import os
import signal

import pytest
import torch

from fourdgs_ns.common.errors import UserError
from tests.plugin.tiny import METHODS, make_config, train, write_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("capture"))


def everything(trainer) -> dict[str, torch.Tensor]:
    """Parameters, buffers, Adam's state and learning rates."""
    state = {f"model.{k}": v for k, v in trainer.pipeline.state_dict().items() if isinstance(v, torch.Tensor)}
    for name, optimizer in trainer.optimizers.optimizers.items():
        for values in optimizer.state.values():
            state |= {f"{name}.{k}": torch.as_tensor(v) for k, v in values.items()}
        state[f"{name}.lr"] = torch.tensor(optimizer.param_groups[0]["lr"])
    return state


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert set(a) == set(b)
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_equals_an_uninterrupted_one(capture, tmp_path, method):
    """Bit for bit: parameters, moments, statistics, learning rates; with densification before and after the break."""
    whole = train(make_config(capture, tmp_path / "whole", 14, method))
    first = train(make_config(capture, tmp_path / "parts", 7, method))
    second = train(make_config(capture, tmp_path / "again", 14, method), load_dir=first.checkpoint_dir)
    assert second.finished_step == 13
    assert whole.pipeline.gaussians.num_points > 300
    assert_equal(everything(whole), everything(second))


def test_optimizers_train_the_loaded_parameters(capture, tmp_path):
    first = train(make_config(capture, tmp_path / "a", 6))
    config = make_config(capture, tmp_path / "b", 8)
    config.load_dir = first.checkpoint_dir
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    for name, parameter in trainer.pipeline.gaussians.gauss_params.items():
        assert trainer.optimizers.optimizers[name].param_groups[0]["params"][0] is parameter


@pytest.mark.parametrize(
    ("where", "number", "last"),
    [("train_iteration", signal.SIGINT, 5), ("loss", signal.SIGTERM, 4), ("scores", signal.SIGINT, 5)],
)
def test_an_interrupt_saves_and_loses_nothing(capture, tmp_path, where, number, last):
    """A step that has only been rendered is given up, as are scores; what changes Gaussians is finished."""
    config = make_config(capture, tmp_path / "stopped", 14)
    config.steps_per_eval_image = 6
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    owner, name = {
        "train_iteration": (trainer, "train_iteration"),
        "loss": (trainer.pipeline, "get_train_loss_dict"),
        "scores": (trainer.pipeline, "score"),
    }[where]
    plain = getattr(owner, name)

    def interrupted(*args, **kwargs):
        result = plain(*args, **kwargs) if where != "train_iteration" else None
        if trainer.finished_step == (5 if where == "scores" else 4):
            os.kill(os.getpid(), number)
        return result or plain(*args, **kwargs)

    setattr(owner, name, interrupted)
    with pytest.raises(SystemExit) as stopped:
        trainer.train()
    assert stopped.value.code == 130 and trainer.finished_step == last
    assert [p.name for p in trainer.checkpoint_dir.iterdir()] == [f"step-{last:09d}.ckpt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = train(make_config(capture, tmp_path / "resumed", 14), load_dir=trainer.checkpoint_dir)
    whole = train(make_config(capture, tmp_path / "whole", 14))
    assert_equal(everything(whole), everything(resumed))


def test_what_was_trained_but_not_scored_is_scored(capture, tmp_path):
    """A training that was killed in its last evaluation, started again."""
    first = train(make_config(capture, tmp_path / "run", 3))
    again = train(make_config(capture, tmp_path / "again", 3), load_dir=first.checkpoint_dir)
    assert_equal(everything(first), everything(again))
    scores = [json.loads((trainer.base_dir / "scores.json").read_text()) for trainer in (first, again)]
    assert scores[0]["psnr"] == scores[1]["psnr"] and scores[1]["steps"] == 3
    assert [p.name for p in again.checkpoint_dir.iterdir()] == ["step-000000002.ckpt"]


def test_full_disk_keeps_earlier_checkpoints(capture, tmp_path, monkeypatch):
    trainer = train(make_config(capture, tmp_path / "run", 3))
    kept = next(trainer.checkpoint_dir.glob("*.ckpt"))
    before = kept.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    trainer.finished_step = 9
    with pytest.raises(UserError, match="free some space"):
        trainer.save_checkpoint(9)
    assert [p.name for p in trainer.checkpoint_dir.iterdir()] == [kept.name]
    assert kept.read_bytes() == before


def test_checkpoints_load_with_weights_only_and_say_what_they_are(capture, tmp_path):
    trainer = train(make_config(capture, tmp_path / "run", 3))
    state = torch.load(next(trainer.checkpoint_dir.glob("*.ckpt")), weights_only=True)
    extra = state["pipeline"]["_model._extra_state"]
    assert (extra["method"], extra["variant"], extra["num_frames"]) == ("spacetime-gaussian", "lite", 4)
    assert extra["duration_seconds"] == pytest.approx(0.1)


class TestWrongCheckpoints:
    """Each is one clear sentence, raised before anything is trained."""

    def attempt(self, capture, tmp_path, **options):
        config = make_config(capture, tmp_path / "out", 14, options.pop("variant", "lite"))
        for name, value in options.items():
            setattr(config, name, value)
        config.setup(local_rank=0, world_size=1).setup()

    def test_no_directory(self, capture, tmp_path):
        with pytest.raises(UserError, match="is no directory; give the nerfstudio_models folder"):
            self.attempt(capture, tmp_path, load_dir=tmp_path / "nowhere")

    def test_no_checkpoint_inside(self, capture, tmp_path):
        with pytest.raises(UserError, match=r"holds no step-\*.ckpt"):
            self.attempt(capture, tmp_path, load_dir=tmp_path)

    def test_missing_step(self, capture, tmp_path):
        with pytest.raises(UserError, match="no checkpoint of step 7"):
            self.attempt(capture, tmp_path, load_dir=tmp_path, load_step=7)

    def test_not_a_checkpoint(self, capture, tmp_path):
        (tmp_path / "step-000000001.ckpt").write_bytes(b"hello")
        with pytest.raises(UserError, match="no readable checkpoint"):
            self.attempt(capture, tmp_path, load_dir=tmp_path)

    def test_truncated(self, capture, tmp_path):
        trainer = train(make_config(capture, tmp_path / "run", 3))
        path = next(trainer.checkpoint_dir.glob("*.ckpt"))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match="no readable checkpoint"):
            self.attempt(capture, tmp_path, load_dir=trainer.checkpoint_dir)

    def test_of_another_method(self, capture, tmp_path):
        path = tmp_path / "step-000000001.ckpt"
        torch.save(
            {
                "step": 1,
                "pipeline": {"_model.means": torch.zeros(3)},
                "optimizers": {},
                "schedulers": {},
                "scalers": {},
            },
            path,
        )
        with pytest.raises(UserError, match="not written by a fourdgs-ns method"):
            self.attempt(capture, tmp_path, load_checkpoint=path)

    def test_code_inside_is_not_run(self, capture, tmp_path):
        class Malicious:
            def __reduce__(self):
                return os.system, ("touch " + str(tmp_path / "executed"),)

        torch.save({"step": Malicious()}, tmp_path / "step-000000001.ckpt")
        with pytest.raises(UserError, match="no readable checkpoint"):
            self.attempt(capture, tmp_path, load_dir=tmp_path)
        assert not (tmp_path / "executed").exists()

    def test_of_the_other_variant(self, capture, tmp_path):
        trainer = train(make_config(capture, tmp_path / "run", 3))
        with pytest.raises(UserError, match=r"model .lite. but the method asks for spacetime-gaussian .full."):
            self.attempt(capture, tmp_path, load_dir=trainer.checkpoint_dir, variant="full")

    def refused(self, capture, tmp_path, phrase, change, first=lambda config: None):
        """Go on with a run of ``capture`` after ``change`` of its config."""
        before, after = make_config(capture, tmp_path / "run", 3), make_config(capture, tmp_path / "again", 6)
        first(before)
        trainer = train(before)
        change(after)
        with pytest.raises(UserError, match=phrase):
            train(after, load_dir=trainer.checkpoint_dir)
        assert not (tmp_path / "again").exists()

    def test_of_other_frames(self, capture, tmp_path):
        def change(config):
            config.pipeline.datamanager.dataparser.frames = "0:3"

        self.refused(capture, tmp_path, "4 frames from frame 0 .* is on 3 frames from frame 0 .* --frames", change)

    def test_of_other_cameras(self, capture, tmp_path):
        """As many as before: parameters per camera would fit and be another's."""

        def change(config):
            config.pipeline.datamanager.dataparser.eval_cameras = ("1",)
            config.pipeline.datamanager.dataparser.center = config.pipeline.datamanager.dataparser.orientation = "none"
            config.pipeline.datamanager.dataparser.scale_scene = False

        self.refused(capture, tmp_path, "cameras 1, 2, 3 but this training is on 0, 2, 3; .* --eval-cameras", change)

    def test_of_other_options(self, capture, tmp_path):
        def change(config):
            config.pipeline.model.representation.bounded_colors = False

        self.refused(capture, tmp_path, "add --pipeline.model.representation.bounded-colors True", change)

    @pytest.mark.parametrize(
        ("name", "here", "phrase"),
        [("color_correction", False, "learned colours per camera; add --pipeline.model.color-correction True"),
         ("color_correction", True, "no colours per camera; add --pipeline.model.color-correction False"),
         ("time_offsets", False, "learned time offsets per camera; add --pipeline.model.time-offsets True"),
         ("pose_correction", True, "no poses per camera; add --pipeline.model.pose-correction False")],
    )  # fmt: skip
    def test_of_other_corrections(self, capture, tmp_path, name, here, phrase):
        def with_option(config, value):
            setattr(config.pipeline.model, name, value)
            config.pipeline.datamanager.batch_size = 1

        self.refused(
            capture,
            tmp_path,
            phrase,
            lambda config: with_option(config, here),
            lambda config: with_option(config, not here),
        )

    def test_of_another_strategy_is_converted(self, capture, tmp_path, capsys):
        first = train(make_config(capture, tmp_path / "run", 3, "fourd"))
        config = make_config(capture, tmp_path / "again", 4, "fourd")
        config.pipeline.model.densification = make_config(capture, tmp_path, 4).pipeline.model.densification
        assert train(config, load_dir=first.checkpoint_dir).finished_step == 3
        assert "another densification strategy" in capsys.readouterr().out

    def test_of_other_beginnings_and_rates_goes_on_and_is_told(self, capture, tmp_path, capsys):
        first = train(make_config(capture, tmp_path / "run", 3))
        config = make_config(capture, tmp_path / "again", 4)
        config.pipeline.model.representation.initial_duration = 0.3
        config.optimizers["means"]["optimizer"].lr *= 2
        assert train(config, load_dir=first.checkpoint_dir).finished_step == 3
        told = capsys.readouterr().out
        assert "initial-duration is 0.3 and was 1.0" in told and "The learning rate of means began at" in told

    def test_beside_other_files(self, capture, tmp_path):
        first = train(make_config(capture, tmp_path / "run", 3))
        for name in ("step-foo.ckpt", ".DS_Store", "step-000000009.ckpt.part", "notes-1.txt"):
            (first.checkpoint_dir / name).write_text("stray")
        (first.checkpoint_dir / "step-000000008.ckpt").mkdir()
        assert train(make_config(capture, tmp_path / "again", 4), load_dir=first.checkpoint_dir).finished_step == 3

    def test_more_than_finished(self, capture, tmp_path):
        trainer = train(make_config(capture, tmp_path / "run", 5))
        with pytest.raises(UserError, match="finished 5 steps and --max-num-iterations is 4"):
            train(make_config(capture, tmp_path / "more", 4), load_dir=trainer.checkpoint_dir)
        assert not (tmp_path / "more").exists()
