"""Paths through sparse networks: which surviving weights connect an input with an output.

A weight counts for the function of a network only if it lies on a path of surviving weights from an
input to an output ("effective sparsity", Vysogorets & Kempe 2023, arXiv 2107.02306). Networks are
described as chains of layers; convolutions count by channel, as if all places of an image were alike
(borders, where kernels overhang, are not looked at). `effective_mask` takes four steps:

1. links: two units are linked if any weight between them survives;
2. forward: a unit is alive if an alive unit of the level before is linked to it, the inputs all are;
3. backward: a unit is heard if it is linked to one that is heard, the outputs all are;
4. a weight is on a path if it survives, starts at an alive unit and ends at one that is heard.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from landscape.trees import Layout

__all__ = ["ChainLayer", "chain_faults", "effective_mask"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainLayer:
    """One layer of a chain.

    Attributes
    ----------
    path : str
        Of its kernel: [in, out] of a dense layer, [h, w, in, out] of a convolution.
    channels : int, optional
        For a dense layer on the flattened channels of an image [h, w, c] their number c: input i
        belongs to channel i mod c.
    """

    path: str
    channels: int | None = None


def chain_faults(chain: Sequence[ChainLayer], layout: Layout) -> list[str]:
    """Return in words what is wrong with a chain of a network's kernels; an empty list if nothing is.

    Every leaf with two or more axes must be in it: for a kernel outside the chain it cannot be said
    whether its weights are on a path.
    """
    known = dict(zip(layout.paths, layout.shapes, strict=True))
    kernels = {path for path, shape in known.items() if len(shape) >= 2}
    listed = [layer.path for layer in chain]
    faults = [f"{path} is not a kernel" for path in listed if path not in kernels]
    faults += [f"{path} is left out" for path in sorted(kernels - set(listed))]
    if len(set(listed)) < len(listed):
        faults.append("a kernel stands twice")
    if faults:
        return faults
    for layer, after in zip(chain, [*chain[1:], None], strict=True):
        inputs, outputs = known[layer.path][-2:]
        if layer.channels is not None and (layer.channels < 1 or inputs % layer.channels):
            faults.append(f"{layer.path} has {inputs} inputs, no multiple of {layer.channels} channels")
        if after is not None and (wanted := after.channels or known[after.path][-2]) != outputs:
            faults.append(f"{layer.path} has {outputs} outputs, {after.path} takes {wanted}")
    return faults


def effective_mask(mask: np.ndarray, layout: Layout, chain: Sequence[ChainLayer]) -> np.ndarray:
    """Return which entries [n] of a mask lie on a path from an input to an output.

    Biases are not paths: a unit without surviving inputs is a constant, and its outgoing weights are
    biases in disguise. Entries outside the chain's kernels are False.

    Parameters
    ----------
    mask : bool array [n]
        Surviving weights.
    layout : Layout
        Where the kernels are.
    chain : sequence of ChainLayer
        From inputs to outputs.
    """
    leaves: Mapping[str, np.ndarray] = layout.split(np.asarray(mask, bool))
    kernels = [_by_unit(leaves[layer.path], layer.channels) for layer in chain]
    links = [kernel.any(axis=0) for kernel in kernels]  # step 1: [in units, out units]
    alive = [np.ones(links[0].shape[0], bool)]  # step 2
    for link in links:
        alive.append(alive[-1] @ link)
    heard = [np.ones(links[-1].shape[1], bool)]  # step 3
    for link in reversed(links):
        heard.insert(0, link @ heard[0])
    result = np.zeros(mask.shape, bool)
    for layer, kernel, before, after in zip(chain, kernels, alive[:-1], heard[1:], strict=True):
        # Step 4.
        on_path = kernel & before[None, :, None] & after[None, None, :]
        result[layout.slices[layer.path]] = on_path.reshape(-1)
    return result


def _by_unit(kernel: np.ndarray, channels: int | None) -> np.ndarray:
    """Return a kernel as [taps, in units, out units], in its own C order."""
    outputs = kernel.shape[-1]
    inputs = channels if channels is not None else kernel.shape[-2]
    return kernel.reshape(-1, inputs, outputs)
