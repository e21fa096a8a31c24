"""The form in which a problem takes networks, where they are another library's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import jax

    from landscape.files import Checkpoint

PyTree = Any


class Form(Protocol):
    """How networks of another library become parameters of a problem.

    Attributes
    ----------
    constant : frozenset of str
        Paths of leaves that are carried along and not differentiated.
    notes : tuple of str
        What a reader of a result should know.
    training_loss : callable or None
        ``training_loss(point, batch) -> [B]``: the loss with the statistics of the batch, as in training;
        None where the network has none.
    """

    constant: frozenset[str]
    notes: tuple[str, ...]
    training_loss: Callable[[PyTree, PyTree], jax.Array] | None

    def take(self, given: Any) -> tuple[PyTree, PyTree, Checkpoint]:
        """Return (params, batch_stats, checkpoint) of a network as it was given."""

    def output_axis(self, path: str) -> int:
        """Return the axis of a kernel that counts its output units."""

    @property
    def derivatives(self) -> Mapping[str, str]:
        """How each kind of derivative was computed so far."""

    @property
    def example_bytes(self) -> float:
        """Bytes that differentiation keeps per example where jax does not see them."""
