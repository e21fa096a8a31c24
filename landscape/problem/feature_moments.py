"""Mean and variance of features, of one batch and merged over batches (Chan, Golub and LeVeque 1983)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Sample", "merged", "moments"]

Sample = tuple[Any, Any, Any]  # entries per feature, their mean, the sum of squared deviations from it


def merged(a: Sample, b: Sample) -> Sample:
    """Return the moments of two samples together."""
    count = a[0] + b[0]
    share = b[0] / np.maximum(count, 1)
    step = b[1] - a[1]
    return count, a[1] + step * share, a[2] + b[2] + step**2 * a[0] * share


def moments(x: jax.Array, axis: Any, mask: jax.Array | None = None) -> Sample:
    """Return entries, mean and sum of squared deviations of each feature of a layer's input."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    features = {i % x.ndim for i in (axis if isinstance(axis, (tuple, list)) else (axis,))}
    others = tuple(i for i in range(x.ndim) if i not in features)
    kept = jnp.broadcast_to(jnp.asarray(True) if mask is None else mask.astype(bool), x.shape)
    count = kept.sum(others).astype(wide.dtype)
    mean = jnp.where(kept, wide, 0).sum(others) / jnp.maximum(count, 1)
    deviation = jnp.where(kept, wide - jnp.expand_dims(mean, others), 0)
    return count, mean, (deviation**2).sum(others)
