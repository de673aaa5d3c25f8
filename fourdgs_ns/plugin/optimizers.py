"""Nerfstudio's set of optimizers, stepped together: on a GPU one kernel updates every parameter group."""

from __future__ import annotations

import math
from typing import Any

import torch
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.utils import writer
from torch.nn import Parameter
from torch.optim import Adam

from fourdgs_ns.common.console import say
from fourdgs_ns.common.errors import UserError


class JointOptimizers(Optimizers):
    """One Adam per parameter group, as Nerfstudio and checkpoints know them. Their states stay the truth, but for the step
    counters, which are kept on the host while training and written back by :meth:`state_dicts`."""

    def __init__(self, config: dict[str, Any], param_groups: dict[str, list[Parameter]]) -> None:
        super().__init__(config, param_groups)
        # Nerfstudio keeps the parameters it was given beside the optimizers, for clipping that is not done here: that would hold
        # rows that densification has replaced.
        self.parameters = {name: [] for name in self.parameters}
        self._steps: dict[tuple[str, int], int] = {}

    def zero_grad_all(self) -> None:
        for _, _, parameter in self._parameters():
            parameter.grad = None

    def step_all(self) -> None:
        """One step of every group that has gradients."""
        due = [(name, k, parameter) for name, k, parameter in self._parameters() if parameter.grad is not None]
        if not all(p.is_cuda and p.dtype == torch.float32 and p.is_contiguous() for _, _, p in due):
            for name in {name for name, _, _ in due}:
                self.optimizers[name].step()
            return
        from fourdgs_ns.kernels.adam import AdamTensor, adam_step

        groups: dict[tuple[float, float, float], list[AdamTensor]] = {}
        for name, k, parameter in due:
            optimizer = self.optimizers[name]
            assert type(optimizer) is Adam and parameter.grad is not None
            options, state = optimizer.param_groups[0], optimizer.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            if (name, k) not in self._steps:
                self._steps[name, k] = int(state["step"])
            self._steps[name, k] += 1
            tensor = AdamTensor(
                parameter.data, parameter.grad.contiguous(), state["exp_avg"], state["exp_avg_sq"], options["lr"],
                self._steps[name, k],
            )  # fmt: skip
            groups.setdefault((*options["betas"], options["eps"]), []).append(tensor)
        for (beta1, beta2, eps), tensors in groups.items():
            adam_step(tensors, beta1=beta1, beta2=beta2, eps=eps)

    def scheduler_step_all(self, step: int, log: bool = True) -> None:
        """Advance every schedule; ``log`` writes the learning rates to the loggers."""
        for name, scheduler in self.schedulers.items():
            scheduler.step()
            if log:
                writer.put_scalar(name=f"learning_rate/{name}", scalar=scheduler.get_last_lr()[0], step=step)

    def load_optimizers(self, loaded_state: dict[str, Any]) -> None:
        """What a checkpoint remembers; groups of which it knows nothing start anew, which is told, as is a rate that differs.

        Raises:
            UserError: it has a group that is not trained here, or its memory is of other parameters.
        """
        if new := sorted(set(self.optimizers) - set(loaded_state)):
            say(f"The checkpoint has no optimizer state of {', '.join(new)}: that starts anew.")
        for name, state in loaded_state.items():
            if name not in self.optimizers:
                raise UserError(
                    f"the checkpoint trains {name}, this training does not; use the options of the config.yml beside it"
                )
            self._load_group(name, state)
        self._steps.clear()

    def _load_group(self, name: str, state: dict[str, Any]) -> None:
        optimizer = self.optimizers[name]
        parameters, asked = optimizer.param_groups[0]["params"], _rate(optimizer.param_groups[0])
        remembered = [(k, values) for k, values in state["state"].items() if "exp_avg" in values]
        if len(state["param_groups"][0]["params"]) != len(parameters) or any(
            values["exp_avg"].shape != parameters[k].shape for k, values in remembered
        ):
            raise UserError(
                f"the checkpoint's optimizer state of {name} is of other parameters; use an earlier checkpoint"
            )
        optimizer.load_state_dict(state)
        kept = _rate(optimizer.param_groups[0])
        if not math.isclose(kept, asked, rel_tol=1e-3):
            say(
                f"The learning rate of {name} began at {kept:.3g} in the checkpoint and goes on from there, not at {asked:.3g}."
            )

    def state_dicts(self) -> dict[str, Any]:
        """State of every optimizer by name, for a checkpoint."""
        for name, k, parameter in self._parameters():
            if (name, k) in self._steps:
                self.optimizers[name].state[parameter]["step"].fill_(self._steps[name, k])
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def _parameters(self) -> list[tuple[str, int, Parameter]]:
        """Group, position in it and parameter; read anew because densification replaces parameters."""
        return [
            (name, k, parameter)
            for name, optimizer in self.optimizers.items()
            for k, parameter in enumerate(optimizer.param_groups[0]["params"])
        ]


def _rate(group: dict[str, Any]) -> float:
    """The learning rate that a group's schedule starts from, or that it always has."""
    return float(group.get("initial_lr", group["lr"]))
