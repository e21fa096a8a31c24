"""The state of a PyTorch module as arrays. PyTorch is not imported: a module brings it along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def is_module(given: Any) -> bool:
    """Return whether something is a module of PyTorch, or a state dict of its tensors."""
    if isinstance(given, Mapping):
        return bool(given) and any(_is_tensor(value) for value in given.values())
    return any(kind.__module__.startswith("torch.nn.") for kind in type(given).__mro__)


def state_of(given: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    """Return parameters and running statistics of a module by PyTorch's names; tied weights stand once."""
    state = dict(given) if isinstance(given, Mapping) else given.state_dict(keep_vars=True)
    if not isinstance(given, Mapping):
        kept = {name for name, _ in given.named_parameters()}
        tied = {name for name, _ in given.named_parameters(remove_duplicate=False)} - kept
        state = {name: value for name, value in state.items() if name not in tied}
    arrays = {name: _array(value) for name, value in state.items() if _is_tensor(value)}
    stats = {name: value for name, value in arrays.items() if name.endswith(_STATISTICS)}
    params = {name: value for name, value in arrays.items() if name not in stats}
    return params, stats or None


def _is_tensor(value: Any) -> bool:
    return any(kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(value).__mro__)


def _array(tensor: Any) -> np.ndarray:
    kept = tensor.detach().cpu().contiguous()
    if str(kept.dtype) == "torch.bfloat16":  # NumPy has no such type
        return np.array(kept.float().numpy()).astype(ml_dtypes.bfloat16)
    return np.array(kept.numpy())
