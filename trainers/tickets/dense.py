"""The dense level, which methods of one trainer share: nothing has been pruned yet."""

from __future__ import annotations

from landscape import load, save
from trainers.config import Method, SeedsConfig
from trainers.runs import RunFolder
from trainers.tickets.record import shared_checkpoint
from trainers.tickets.ticket import Tickets


class DenseLevels:
    """Finds and copies dense levels, with the steps within them to which methods rewind.

    Parameters
    ----------
    run : RunFolder
        Where they are.
    tickets : Tickets
        What the copies are of.
    methods : list of Method
        All methods of the run.
    """

    def __init__(self, run: RunFolder, tickets: Tickets, methods: list[Method]) -> None:
        self.run = run
        self.tickets = tickets
        self.methods = methods

    def lacks_step(self, method: Method, seeds: SeedsConfig) -> bool:
        """Return whether a level that is still to be trained rewinds to a missing step of a dense level."""
        if self._has_step(method.name, method, seeds):
            return False
        children = [one for one in self.tickets.config.seeds if one.parent == seeds.train]
        later = range(1, len(method.pruning.schedule))
        return not all(self.run.is_finished(method.name, s.train, k) for s in children for k in later)

    def share(self, method: Method) -> None:
        """Copy the missing files of a method's dense level from another method that has all of them."""
        for seeds in self.tickets.config.seeds:
            if self.run.is_finished(method.name, seeds.train, 0) and not self.lacks_step(method, seeds):
                continue
            donor = next((m for m in self.methods if self._can_give(m, method, seeds)), None)
            if donor is not None:
                self._copy(donor, method, seeds)

    def steps(self, methods: list[Method]) -> tuple[int, ...]:
        """Return the steps to which these and all methods that share their dense level rewind."""
        trained = {method.training for method in methods}
        found = {m.pruning.rewind_step for m in self.methods if m.training in trained}
        return tuple(sorted(found - {0}))

    def _can_give(self, other: Method, method: Method, seeds: SeedsConfig) -> bool:
        return (
            other.name != method.name
            and other.training == method.training
            and other.starts_dense
            and method.starts_dense
            and self.run.is_finished(other.name, seeds.train, 0)
            and self._has_step(other.name, method, seeds)
        )

    def _has_step(self, where: str, method: Method, seeds: SeedsConfig) -> bool:
        step = 0 if method.source is not None else method.pruning.rewind_step
        return step == 0 or self.run.step_path(where, seeds.train, 0, step).is_file()

    def _copy(self, other: Method, method: Method, seeds: SeedsConfig) -> None:
        source = self.run.level_path(other.name, seeds.train, 0)
        target = self.run.level_path(method.name, seeds.train, 0)
        ticket = self.tickets.ticket(method, seeds, 0)
        for path in (*sorted(source.parent.glob(f"{source.stem}.step-*.h5")), source):
            if not target.with_name(path.name).exists():
                shared = shared_checkpoint(
                    self.tickets.space, ticket, load(path), replicate=(method, seeds, 0)
                )
                save(target.with_name(path.name), shared)
