"""The way in: `torch_problem`. PyTorch is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from landscape.torch_bridge.requiring import require_torch

if TYPE_CHECKING:
    from landscape.torch_bridge.problem import TorchProblem


def torch_problem(  # noqa: PLR0913  the ways in are many and all keyword-only
    module: Any,
    loss: Any,
    *,
    train: Any,
    validation: Any = None,
    test: Any = None,
    metrics: Mapping[str, Any] | None = None,
    likelihood: str | None = None,
    differentiate_frozen: bool = False,
    name: str | None = None,
    batch_size: int | None = None,
) -> TorchProblem:
    """Return the problem of a PyTorch module, unchanged, for every analysis of this package.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is measured in evaluation mode and never changed: its mode, buffers, gradients and
        PyTorch's random state are afterwards what they were.
    loss : callable or nn.Module
        A loss of (output, target), taken without its reduction (``nn.CrossEntropyLoss()``,
        ``F.mse_loss``); or ``loss(module, batch) -> [B]`` for anything else, whose first argument is called
        ``module``, ``model``, ``net`` or ``network``.
    train, validation, test : tensors, arrays, Dataset, DataLoader or Stream
        Each (inputs, targets), or what the loss takes as a batch. Loaders are read in their order;
        shuffling and augmentation are refused.
    metrics : mapping of str to callable or Metric, optional
        Further quantities: ``metric(output, target) -> [B]`` or ``metric(module, batch) -> [B]``;
        a reduction is not taken off. Of a bare callable lower values are better, unless its name ends in
        ``accuracy`` or ``return``.
    likelihood : {"categorical", "gaussian"}, optional
        Whose negative log-likelihood the loss is (see `Outputs`); known for ``nn.CrossEntropyLoss()``.
    differentiate_frozen : bool
        Whether parameters with ``requires_grad=False`` are differentiated like the others. Otherwise they are
        constants of curvature and flatness.
    name : str, optional
        What results call the problem, by default the module's class.
    batch_size : int, optional
        Examples per batch in evaluations.

    Returns
    -------
    TorchProblem
        Networks are given to analyses as modules, state dicts, files of them (``.pt``, ``.safetensors``) or
        checkpoints of this package; ``problem.state_dict(…)`` turns what comes back into a state dict.

    Raises
    ------
    ProblemError
        If the module or the loss cannot be evaluated, the loss returns a mean, random numbers are drawn, or
        data are shuffled.
    InputError
        If parameters are complex.
    MissingDependencyError
        If PyTorch is not installed.

    Notes
    -----
    Losses and derivatives are computed by PyTorch, on the module's device; jax calls it. Second derivatives
    are products of dual numbers with backward passes [1]_, with plain kernels in place of fused ones where
    these have none; ``problem.derivatives`` says which. Third derivatives are refused.

    References
    ----------
    .. [1] Pearlmutter, 1994. Fast exact multiplication by the Hessian. Neural Computation 6(1).
    """
    require_torch()
    from landscape.torch_bridge.problem import build_problem

    return build_problem(
        module,
        loss,
        splits={"train": train, "validation": validation, "test": test},
        metrics=metrics,
        likelihood=likelihood,
        differentiate_frozen=differentiate_frozen,
        name=name,
        batch_size=batch_size,
    )
