"""Controls: tickets with one thing changed, to see whether it mattered.

Each takes a ticket's mask and initialisation and returns them changed; all are functions of
`mask_seed`. Frankle & Carbin 2019 compare with another initialisation, Lange & Sprekeler 2023 with
permuted weights and masks of a layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from landscape.errors import ConfigurationError, did_you_mean
from landscape.trees import Layout
from trainers.pruning.connected import connected_mask
from trainers.pruning.masks import keep_highest
from trainers.pruning.paths import ChainLayer

__all__ = ["CONTROLS", "ControlInputs", "control"]

Ticket = tuple[np.ndarray, np.ndarray]
_REINITIALISED, _WEIGHTS, _MASK, _LAYERS, _CONNECTED = range(5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlInputs:
    """The ticket that a control changes, and its surroundings.

    Attributes
    ----------
    mask : bool array [n]
        The ticket's.
    init : array [n]
        The initialisation that the ticket belongs to, dense.
    own_init : array [n]
        The initialisation of the replicate that is trained.
    prunable : bool array [n]
        Entries that pruning may remove.
    layout : Layout
        Where the layers are.
    mask_seed : int
        Fixes whatever is random.
    initialise : callable
        ``initialise(seed) -> init [n]``.
    chain : sequence of ChainLayer or None
        The network as a chain, where it is known.
    """

    mask: np.ndarray
    init: np.ndarray
    own_init: np.ndarray
    prunable: np.ndarray
    layout: Layout
    mask_seed: int
    initialise: Callable[[int], np.ndarray]
    chain: Sequence[ChainLayer] | None = None

    def rng(self, purpose: int) -> np.random.Generator:
        """Return the generator for one purpose."""
        return np.random.default_rng([self.mask_seed, 0xC0117201, purpose])

    def kernels(self) -> list[slice]:
        """Return where the prunable leaves stand."""
        return [where for where in self.layout.slices.values() if self.prunable[where].any()]


def none(inputs: ControlInputs) -> Ticket:
    """Return the ticket as it is."""
    return inputs.mask, inputs.init


def own_init(inputs: ControlInputs) -> Ticket:
    """Return the mask with the replicate's own initialisation (the mask of another run)."""
    return inputs.mask, inputs.own_init


def reinitialise(inputs: ControlInputs) -> Ticket:
    """Return the mask with another draw of the initialisation (Frankle & Carbin 2019)."""
    seed = int(inputs.rng(_REINITIALISED).integers(2**31, 2**32))
    return inputs.mask, inputs.initialise(seed)


def permute_weights(inputs: ControlInputs) -> Ticket:
    """Return the ticket with the surviving initial weights of each layer permuted among their places."""
    rng, init = inputs.rng(_WEIGHTS), inputs.init.copy()
    for where in inputs.kernels():
        places = np.flatnonzero(inputs.mask[where] & inputs.prunable[where]) + where.start
        init[places] = init[rng.permutation(places)]
    return inputs.mask, init


def permute_mask(inputs: ControlInputs) -> Ticket:
    """Return the ticket with the mask of each layer permuted over all its entries."""
    rng, mask = inputs.rng(_MASK), inputs.mask.copy()
    for where in inputs.kernels():
        places = np.flatnonzero(inputs.prunable[where]) + where.start
        mask[places] = mask[rng.permutation(places)]
    return mask, inputs.init


def layer_random(inputs: ControlInputs) -> Ticket:
    """Return as many random weights of each layer as the ticket has there.

    Unlike permuted masks these are nested: a sparser level keeps a part of the level before.
    """
    scores, mask = inputs.rng(_LAYERS).random(inputs.mask.size), inputs.mask & ~inputs.prunable
    for where in inputs.kernels():
        inside = np.zeros(mask.shape, bool)
        inside[where] = inputs.prunable[where]
        mask |= keep_highest(scores, inside, inside, int((inputs.mask & inside).sum()))
    return mask, inputs.init


def without_chain() -> ConfigurationError:
    """Return the refusal of what needs a network's layers, where they are not known."""
    return ConfigurationError(
        "control connected-random: the network's layers are not known",
        expected="a built-in network, or the chain of your own",
        hint="Give train_tickets(chain=…), or return (problem, init, chain) from the function of --problem.",
    )


def connected_random(inputs: ControlInputs) -> Ticket:
    """Return as many random weights as the ticket has, all of them on paths from input to output.

    Raises
    ------
    ConfigurationError
        If the network is not known as a chain.
    MaskError
        If the ticket has fewer weights than a path.
    """
    if inputs.chain is None:
        raise without_chain()
    mask = connected_mask(
        int((inputs.mask & inputs.prunable).sum()),
        inputs.prunable,
        layout=inputs.layout,
        chain=inputs.chain,
        rng=inputs.rng(_CONNECTED),
    )
    return mask | (inputs.mask & ~inputs.prunable), inputs.init


CONTROLS: dict[str, Callable[[ControlInputs], Ticket]] = {
    "none": none,
    "own-init": own_init,
    "reinitialise": reinitialise,
    "permute-weights": permute_weights,
    "permute-mask": permute_mask,
    "layer-random": layer_random,
    "connected-random": connected_random,
}


def control(name: str, inputs: ControlInputs) -> Ticket:
    """Return (mask, initialisation) after the control `name`.

    Raises
    ------
    ConfigurationError
        If there is no such control, or it cannot be carried out for this network.
    MaskError
        If the mask that it asks for does not exist.
    """
    if name not in CONTROLS:
        raise ConfigurationError(
            f"control {name!r}: unknown",
            expected="one of " + ", ".join(CONTROLS),
            hint=did_you_mean(name, CONTROLS),
        )
    return CONTROLS[name](inputs)
