r"""Langevin chains around a network, and means over them whose variance a quadratic model takes away.

At stiffness γ the target is :math:`p(x) \propto \exp(-\Phi(x) - \tfrac\gamma2\|x\|^2)`, with Φ the rise of
the mean loss at the offset x. Wanted is :math:`D(\gamma) = \tfrac12 E[x\cdot\nabla\Phi(x)]` at several γ.

1. *Model.* Rayleigh and Ritz's method with a block Krylov basis, begun at the gradient and a random vector,
   of the secant map :math:`v \mapsto (\nabla\Phi(\epsilon v) - \nabla\Phi(-\epsilon v)) / 2\epsilon`, ε the
   softest 1/√γ: pairs (s, r) of a Hessian averaged over the neighbourhood. It needs gradients only.
2. *Pilot.* From stiff to soft, a few turns of every chain tune its step and show how noisy D(γ) is there. No
   value of the pilot is part of a mean.
3. *Allocation* [1]_. Each γ gets turns in proportion to its weight times the noise of its pilot, beside a
   least number.
4. *Sampling.* Preconditioned Crank-Nicolson Langevin proposals [2]_, whose step does not shrink with the
   number of parameters, accepted by Metropolis's test, which keeps the target exact.
5. *Control variates* [3]_. For any f, :math:`\Delta f - \nabla f\cdot(\nabla\Phi + \gamma x)` has mean zero
   under p (Stein's identity). Three of them, with :math:`A = \sum_k \frac{s_k}{s_k+\gamma} r_k r_k^\top` and
   :math:`b = \sum_k \frac{\gamma\, r_k\cdot g}{2(s_k+\gamma)^2} r_k`:
   :math:`f = \tfrac12 x^\top A x`, :math:`f = b\cdot x` and :math:`f = \tfrac12\|x\|^2`. For a quadratic loss
   whose Hessian the basis spans, the first two leave nothing to chance. Their coefficients in a chain are
   regressed on the other chains.
6. *Integration.* What the model says of D(γ) is integrated over log γ in closed form, and only the difference
   from it by a rule with few nodes.

References
----------
.. [1] Neyman, 1934. On the two different aspects of the representative method. J. R. Statist. Soc. 97(4).
.. [2] Cotter, Roberts, Stuart and White, 2013. MCMC methods for functions: modifying old algorithms to make
   them faster. Statistical Science 28(3).
.. [3] Mira, Solgi and Imparato, 2013. Zero variance Markov chain Monte Carlo for Bayesian estimators.
   Statistics and Computing 23(5).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape.flatness.evaluations import Part, Place, Programs
from landscape.flatness.neighbourhood import Neighbourhood

RANK = 16  # vectors of the model; the outliers of a classifier's Hessian are about as many as its classes
_BLOCK = 5  # turns of one call, more of very long chains: between two, progress is shown and Ctrl-C is heard
_MOST_BASIS = 2**26  # entries of the model's vectors: 256 MiB, beyond which it has fewer
_ACCEPTED = 0.75  # what the step is tuned to
# Numbers of all chains up to which they run side by side, in two thirds of the time on small networks;
# of large ones the activations of all chains would have to be held.
_TOGETHER = 2**17


@dataclasses.dataclass(frozen=True)
class Model:
    """Ritz pairs of the averaged Hessian.

    Attributes
    ----------
    values : numpy.ndarray [r]
        s.
    vectors : numpy.ndarray [r, size]
        Rows r, at most `RANK`.
    slopes : numpy.ndarray [r]
        Entries of the gradient at the network along them.
    """

    values: np.ndarray
    vectors: np.ndarray
    slopes: np.ndarray

    def drift(self, stiffness: float) -> float:
        """Return D(γ) of the model: ½ Σ s/(s + γ) − ½ Σ γ (r·g)²/(s + γ)²."""
        firm = self.values + stiffness
        return 0.5 * float(np.sum(self.values / firm - stiffness * (self.slopes / firm) ** 2))

    def integral(self, low: float, high: float) -> float:
        """Return ∫ D dlog γ of the model between two stiffnesses, in closed form."""
        soft, firm = self.values + low, self.values + high
        logarithms = np.log1p(self.values / low) - np.log1p(self.values / high)
        return 0.5 * float(np.sum(logarithms - self.slopes**2 * (1 / soft - 1 / firm)))


def quadratic_model(around: Neighbourhood, stiffness: float, *, seed: int) -> Model:
    """Return the quadratic model of the rise at the scale of a stiffness (step 1)."""
    rank = min(RANK, around.dim, _MOST_BASIS // (2 * around.size))
    reach = 1 / math.sqrt(stiffness)
    slope = around.gradient()
    rng = np.random.default_rng(seed)
    noise = np.where(around.free, rng.standard_normal(around.size), 0.0)
    basis, images = np.zeros((rank, around.size)), np.zeros((rank, around.size))
    waiting = [slope, noise]
    for k in range(rank):
        vector = _next_direction(basis[:k], waiting)
        if vector is None:  # the space is invariant: nothing is left to find
            basis, images = basis[:k], images[:k]
            break
        basis[k] = vector
        up, down = (around.gradient(sign * reach * vector) for sign in (1, -1))
        images[k] = (up - down) / (2 * reach)
        waiting.append(images[k])
    projected = basis @ images.T
    if not np.isfinite(projected).all():  # the chains say so themselves
        return Model(np.zeros(0), np.zeros((0, around.size)), np.zeros(0))
    values, turn = np.linalg.eigh((projected + projected.T) / 2)
    vectors = turn.T @ basis
    # With a value of -γ or less the model would have no Gaussian; any model serves as a control variate.
    return Model(np.maximum(values, -0.5 * stiffness), vectors, vectors @ slope)


def _next_direction(basis: np.ndarray, waiting: list[np.ndarray]) -> np.ndarray | None:
    """Return the next vector of a block Krylov basis, of length 1; None if none is left."""
    while waiting:
        given = waiting.pop(0)
        length = float(np.linalg.norm(given))
        vector = given
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            vector = vector - basis.T @ (basis @ vector)
        left = float(np.linalg.norm(vector))
        # What rounding leaves of a vector in the span of the others is not a direction.
        if np.isfinite(left) and left > 1e-6 * length:
            return vector / left
    return None


class Turns(NamedTuple):
    """What is kept of the turns of all chains [C, T]: what drifts and control variates are made of."""

    drift: Any  # x·∇Φ
    square: Any  # ‖x‖²
    along: Any  # r·x [C, T, RANK]
    slopes: Any  # r·∇Φ [C, T, RANK]
    accepted: Any

    def after(self, count: int) -> Turns:
        """Return the turns but the first ones."""
        return Turns(*(values[:, count:] for values in self))


class Chains(NamedTuple):
    """The state of the chains at one stiffness: what continues them."""

    x: Any  # [C, size]
    delta: Any  # step [C]
    turns: int  # so far


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Chains of one neighbourhood: runs them, keeps nothing of them."""

    around: Neighbourhood
    model: Model
    seed: int
    block: int = _BLOCK

    @functools.cached_property
    def _arguments(self) -> tuple[Any, ...]:
        around = self.around
        programs = around.parts()[0]
        program = programs.compiled("wander", lambda: functools.partial(_wander, programs))
        vectors = np.zeros((RANK, around.size))
        # Zero rows beyond those that there are, so that every network has the same program.
        vectors[: len(self.model.vectors)] = self.model.vectors
        return program, around.stacked(), around.on_device(around.free), around.on_device(vectors)

    def run(
        self, chains: Chains, stiffness: float, *, stage: int, blocks: int, tune: bool = False
    ) -> tuple[Chains, Turns]:
        """Run chains through a number of blocks of turns, of which the first turn is where they are.

        Returns
        -------
        tuple
            The chains, and what is kept of every turn but the first.
        """
        program, parts, free, vectors = self._arguments
        around, count = self.around, len(chains.x)
        words = np.array(
            [np.random.SeedSequence((self.seed, stage, i)).generate_state(2) for i in range(count)]
        )
        state: Any = (chains.x, np.zeros(count, around.dtype), np.zeros_like(chains.x), chains.delta)
        found = []
        for block in range(blocks):
            numbers = np.arange(block * self.block, (block + 1) * self.block, dtype=np.uint32)
            settings = (np.asarray(stiffness, around.dtype), free, vectors, np.asarray(tune))
            timing = numbers == 0, numbers + np.uint32(chains.turns)
            state, turns = program(around.place, parts, (*settings, timing), (words, *state))
            found.append(turns)
            around.worked(gradients=count * self.block)
        joined = Turns(
            *(np.concatenate([np.asarray(x) for x in each], 1) for each in zip(*found, strict=True))
        )
        ended = Chains(np.asarray(state[0]), np.asarray(state[3]), chains.turns + blocks * self.block)
        return ended, Turns(*(values.astype(np.float64) for values in joined)).after(1)


def block_of(samples: int) -> int:
    """Return the turns of one call where chains have a number of them at each stiffness."""
    return max(_BLOCK, samples // 8)


def controlled(model: Model, turns: Turns, stiffness: float, dim: int) -> np.ndarray:
    """Return ½ x·∇Φ without what the control variates explain, [C, T] (step 5)."""
    drift = turns.drift / 2
    variates = control_variates(model, turns, stiffness, dim)
    found = np.array(drift)
    for chain in range(len(drift)):
        others = np.arange(len(drift)) != chain
        seen = variates[others].reshape(-1, variates.shape[-1])
        design = np.column_stack([np.ones(len(seen)), seen])
        if np.isfinite(design).all() and np.isfinite(drift[others]).all():
            fitted = np.linalg.lstsq(design, drift[others].reshape(-1), rcond=1e-10)[0]
            found[chain] -= variates[chain] @ fitted[1:]
    return found


def control_variates(model: Model, turns: Turns, stiffness: float, dim: int) -> np.ndarray:
    """Return the control variates of every turn [C, T, 3], each of mean zero under the target."""
    firm = model.values + stiffness
    along, slopes = (values[..., : len(firm)] for values in (turns.along, turns.slopes))
    score = slopes + stiffness * along  # r·(∇Φ + γx)
    share = model.values / firm
    quadratic = share.sum() - (share * along * score).sum(-1)
    linear = (stiffness * model.slopes / (2 * firm**2) * score).sum(-1)
    radial = dim - turns.drift - stiffness * turns.square
    return np.stack([quadratic, linear, radial], -1)


def allocated(weights: np.ndarray, noise: np.ndarray, total: int) -> np.ndarray:
    """Return how many blocks each stiffness gets, about `total` in all (step 3).

    Half of an equal share is everyone's: the least that shows whether chains agree.
    """
    count = len(weights)
    least = max(2, total // (2 * count))
    wish = np.abs(weights) * noise
    share = wish / wish.sum() if np.isfinite(wish).all() and wish.sum() > 0 else np.full(count, 1 / count)
    return least + np.round(max(0, total - least * count) * share).astype(int)


def pilot_noise(model: Model, turns: Turns, stiffness: float, dim: int) -> float:
    """Return how noisy a turn is, from the later half of a pilot."""
    settled = turns.after(turns.drift.shape[1] // 2)
    return float(np.std(controlled(model, settled, stiffness, dim)))


def _wander(programs: Programs, place: Place, parts: Part, /, *given: Any) -> Any:
    """Run every chain through one block of turns; returns states and `Turns` (step 4).

    For a potential Φ and the prior N(0, C), C = 1/γ on free coordinates, the proposal is
    ``(2 + δ) x' = (2 − δ) x − 2δ C∇Φ(x) + √(8δ) C^½ ξ``, accepted with probability
    ``min(1, exp(ρ(x, x') − ρ(x', x)))`` with
    ``ρ(u, v) = Φ(u) + ½(v − u)·∇Φ(u) + ¼δ(u + v)·∇Φ(u) + ¼δ‖C^½∇Φ(u)‖²`` (Cotter et al. 2013).
    """
    (gamma, free, vectors, tune, timing), chains = given
    climb = jax.value_and_grad(
        lambda flat: programs.stacked_loss(dataclasses.replace(place, flat=flat), parts)
    )

    def step(state: Any, turn: tuple[jax.Array, jax.Array]) -> Any:
        words, x, value, slope, delta = state
        start, number = turn
        key = jax.random.fold_in(jax.random.wrap_key_data(words, impl="threefry2x32"), number)
        drawn = jax.random.normal(key, (x.size + 2,), x.dtype)
        noise, rest = drawn[:-2] * free, drawn[-2:]
        there = ((2 - delta) * x - 2 * delta / gamma * slope + jnp.sqrt(8 * delta / gamma) * noise) / (
            2 + delta
        )
        # The first turn evaluates the chain where it is: outside, that would be compiled a second time.
        there = jnp.where(start, x, there)
        rise, turned = climb(place.flat + there)
        turned = turned * free
        # All sums in one: each that stands alone is three loops to compile.
        moved, middle = there - x, there + x
        factors = [(moved, slope), (middle, slope), (slope, slope)]
        factors += [(-moved, turned), (middle, turned), (turned, turned)]
        sums = jnp.stack([a * b for a, b in factors]).sum(1)
        weights = jnp.stack([0.5 * jnp.ones_like(delta), delta / 4, delta / (4 * gamma)])
        ratio = value - rise + jnp.sum(weights * (sums[:3] - sums[3:]))
        # Half the square of two normal numbers is exponential, as minus the logarithm of a uniform one.
        # Never, if the ratio is not a number.
        accept = start | (-0.5 * jnp.sum(rest**2) < ratio)
        x, value, slope = (
            jnp.where(accept, new, old)
            for new, old in zip((there, rise, turned), (x, value, slope), strict=True)
        )
        rate = jnp.clip(jnp.exp(jnp.nan_to_num(ratio, nan=-jnp.inf)), 0, 1)
        tuned = jnp.clip(delta * jnp.exp(0.3 * (rate - _ACCEPTED)), 1e-5, 2.0)
        delta = jnp.where(tune & ~start, tuned, delta)
        drift, square = jnp.stack([x * slope, x * x]).sum(1)
        kept = Turns(drift, square, vectors @ x, vectors @ slope, accept)
        return (words, x, value, slope, delta), kept

    def chain(given: Any) -> Any:
        (_, *state), kept = lax.scan(step, tuple(given), timing)
        return state, kept

    return jax.vmap(chain)(chains) if chains[1].size <= _TOGETHER else lax.map(chain, chains)
