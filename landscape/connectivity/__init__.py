"""How networks are connected: the loss along paths between them."""

from landscape.connectivity.barrier import Barrier, loss_barrier

__all__ = ["Barrier", "loss_barrier"]
