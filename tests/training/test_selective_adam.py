"""Steps that leave alone what no camera of them sees."""

from __future__ import annotations

import copy

import torch

from fourdgs_ns.optimizers import JointOptimizers
from fourdgs_ns.schedulers import FusedAdamConfig

from .tiny import make_config, write_capture


def test_other_rows_keep_values_and_moments():
    torch.manual_seed(0)
    params = {name: [torch.nn.Parameter(torch.randn(6, 2))] for name in ("means", "decoder")}
    config = {name: {"optimizer": FusedAdamConfig(lr=0.1), "scheduler": None} for name in params}
    rows = torch.tensor([True, False, True, True, False, False])
    selective, plain = JointOptimizers(config, params), None
    plain_params = copy.deepcopy(params)
    plain = JointOptimizers(config, plain_params)
    gradients = [torch.randn(6, 2) for _ in range(2)]
    before = params["means"][0].detach().clone()
    for gradient in gradients:
        for group in (params, plain_params):
            for (parameter,) in group.values():
                parameter.grad = gradient.clone()
        selective.step_all(rows, of=["means"])
        plain.step_all()
    means, state = params["means"][0].detach(), selective.optimizers["means"].state[params["means"][0]]
    assert torch.equal(means[~rows], before[~rows])
    assert not state["exp_avg"][~rows].any() and not state["exp_avg_sq"][~rows].any()
    torch.testing.assert_close(means[rows], plain_params["means"][0].detach()[rows])
    torch.testing.assert_close(params["decoder"][0], plain_params["decoder"][0])


def test_a_training_step_moves_only_what_it_sees(tmp_path):
    config = make_config(write_capture(tmp_path / "capture"), tmp_path / "out", 4, "freetime")
    config.selective_adam = True
    config.pipeline.model.opacity_regularization = 0.1  # reaches what is alive, seen or not
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.pipeline.train()
    model = trainer.pipeline.gaussians
    with torch.no_grad():
        model.gauss_params["means"][:50] += 100.0  # nobody sees these
    before = {name: value.detach().clone() for name, value in model.gauss_params.items()}
    trainer.train_iteration(0)
    seen = model.rendering.seen_rows(model.num_points)
    assert not seen[:50].any() and seen.any()
    for name, value in model.gauss_params.items():
        assert torch.equal(value.detach()[~seen], before[name][~seen]), name
    moved = (model.gauss_params["opacities"].detach() != before["opacities"])[:, 0]
    assert bool(moved[seen].any())


def test_seen_rows_are_canonical_rows():
    """A place without a row, id -1, is nobody; a row counts when one camera of several sees it."""
    from fourdgs_ns.rasterization import Rendering

    picture = torch.zeros(2, 1, 1, 3)
    rendering = Rendering(
        features=picture, alphas=picture[..., :1], depths=None, ids=torch.tensor([4, 0, 2, -1]),
        radii=torch.tensor([[0, 3, 0, 9], [0, 0, 1, 9]]), means2d=torch.zeros(2, 4, 2),
    )  # fmt: skip
    assert rendering.seen_rows(6).tolist() == [True, False, True, False, False, False]
