"""Low-loss curves between two networks: their form, and how their bends are trained.

A curve is φ(t) = Σ_j w_j(t) c_j, with control points c_0 = a, the bends, and c_{k+1} = b:

- ``"bezier"``: Bernstein polynomials of degree k + 1 (Garipov et al. 2018, arXiv:1802.10026, eq. 5);
- ``"chain"``: hat functions, a polygon through the bends (their eq. 4);
- ``"neb"``: the same polygon, whose bends are equally spaced images of an elastic band (Draxler et al. 2018,
  arXiv:1803.00885).

Bézier curves and chains minimise E_{t ∼ U[0, 1]} L(φ(t)) (Garipov et al. 2018, eq. 2), one step of which is:

1. draw a minibatch, and one t in each of `NUM_TIMES` equal parts of [0, 1], so that the ends get their share;
2. take the gradient of the mean loss over these t with respect to the bends;
3. set it to zero outside the union of the two networks' masks, and give it to the optimiser.

A step of the elastic band is:

1. draw a minibatch and take the gradient of the loss at every image;
2. remove its component along the tangent, which would let images slide into the minima (*nudging*);
3. give it to the optimiser, masked as above;
4. put the images back to equal distances along the polygon: springs of infinite stiffness, as in the string
   method (E, Ren, Vanden-Eijnden 2007).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from landscape.compute import Progress, on_device, program
from landscape.connectivity.curve_form import BEZIER, NEB
from landscape.errors import ProblemError
from landscape.files import Pieces
from landscape.network import Network, differentiable
from landscape.problem import subset_of

__all__ = ["Trained", "Training", "train"]

PyTree = Any

NUM_TIMES = 2
_CHUNK_SECONDS = 0.5  # a stop is heard, and progress told, about so often
_SECONDS_PER_PIECE = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How bends are trained.

    Attributes
    ----------
    curve : str
        One of `CURVES`.
    steps : int
        Steps of the optimiser (Adam, cosine schedule to zero).
    learning_rate : float
        At the start.
    batch_size : int
        Examples per step.
    seed : int
        Of minibatches and times; a step depends on it and on its number alone.
    """

    curve: str
    steps: int
    learning_rate: float
    batch_size: int
    seed: int

    def optimizer(self) -> optax.GradientTransformation:
        """Return the optimiser."""
        return optax.adam(optax.cosine_decay_schedule(self.learning_rate, max(1, self.steps)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """The bends after training.

    Attributes
    ----------
    bends : numpy.ndarray [k, size]
        In the layout's coordinates.
    history : numpy.ndarray [steps]
        Minibatch loss of each step.
    seconds : float
        Of training; those of an earlier call that was stopped are not counted.
    """

    bends: np.ndarray
    history: np.ndarray
    seconds: float


def basis(curve: str, t: Any, bends: int) -> Any:
    """Return what `curve_form.weights_at` does, for times that are traced."""
    t = jnp.asarray(t)[..., None]
    degree = bends + 1
    j = np.arange(degree + 1)
    if curve == BEZIER:
        binomials = np.array([math.comb(degree, i) for i in j], np.float64)
        return jnp.asarray(binomials, t.dtype) * t**j * (1 - t) ** (degree - j)
    return jnp.maximum(0.0, 1 - jnp.abs(t * degree - j))


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """The constants of a training: a pytree."""

    network: Network
    first: jax.Array
    last: jax.Array
    free: jax.Array
    arrays: PyTree


jax.tree_util.register_dataclass(_Fixed, ["network", "first", "last", "free", "arrays"], [])


@dataclasses.dataclass(frozen=True)
class _State:
    """The state of a training: a pytree that continues it."""

    bends: jax.Array
    optimizer: PyTree


jax.tree_util.register_dataclass(_State, ["bends", "optimizer"], [])


def train(  # noqa: PLR0913  one keyword per part of a training
    problem: Any,
    settings: Training,
    *,
    network: Network,
    layout: Any,
    ends: tuple[np.ndarray, np.ndarray],
    free: np.ndarray | None,
    num_bends: int,
    dtype: np.dtype,
    pieces: Pieces,
    progress: Progress,
    label: str,
) -> Trained:
    """Train the bends of a curve, going on from what `pieces` kept.

    Parameters
    ----------
    problem : Problem
        Its training split must be held as arrays.
    settings : Training
        How.
    network : Network
        The parts of the networks that do not change: leaves that are not floats, and batch statistics.
    layout : Layout
        Coordinates of the vectors.
    ends : pair of numpy.ndarray [size]
        The two networks.
    free : numpy.ndarray of bool [size], optional
        Where bends may leave the straight line; everywhere by default.
    num_bends : int
        Control points between the ends.
    dtype : numpy.dtype
        On the device.
    pieces, progress : Pieces, Progress
        Receive the state every few seconds, and every step.
    label : str
        What the progress calls it.

    Raises
    ------
    ProblemError
        If the training data are a stream, or the loss has no gradient.
    """
    if problem.is_stream("train"):
        raise ProblemError(
            "connect: trains its bends on minibatches, and a stream has none to draw from",
            hint="Give train as arrays, or measure the straight line: loss_barrier.",
        )
    straight = np.linspace(0, 1, num_bends + 2)[1:-1, None]
    start = (1 - straight) * ends[0] + straight * ends[1]
    first, last = (on_device(end, dtype) for end in ends)
    moving = on_device(np.ones(layout.size, bool) if free is None else free)
    # Examples of weight 0 are never drawn: they would enter the statistics of a minibatch.
    arrays = subset_of(problem.arrays("train", dtype=dtype), problem.weighting("train").numbers, "train")
    fixed = _Fixed(network, first, last, moving, arrays)
    bends = on_device(np.asarray(start), dtype)
    state = _State(bends, settings.optimizer().init(bends))
    run = program(functools.partial(_run, _step_of(problem, settings, layout)))
    history = np.full(settings.steps, np.nan)
    state, done = _restored(pieces, state, history)
    return _loop(run, fixed, state, done, history, pieces, progress, label)


def _step_of(problem: Any, settings: Training, layout: Any) -> Callable[..., Any]:
    """Return the function of one step: (fixed, state, number) → (state, loss)."""
    optimizer, per_example = settings.optimizer(), problem.weighed_loss("train", counted=True)
    mean_gradient = functools.partial(_mean_gradient, settings.curve)
    gradient = _band_gradient if settings.curve == NEB else mean_gradient

    def loss_at(vector: jax.Array, fixed: _Fixed, batch: PyTree) -> jax.Array:
        leaves = {path: leaf for path, leaf in layout.split(vector).items()}
        leaves = {path: leaf.astype(fixed.network.leaves[path].dtype) for path, leaf in leaves.items()}
        point = fixed.network.point(leaves)
        if problem.form is not None and problem.form.training_loss is not None:
            return jnp.mean(problem.form.training_loss(point, batch))
        if problem.update_stats is not None:  # as in training: the statistics of the minibatch
            params, stats = point
            point = (params, problem.update_stats((params, stats), batch))
        return jnp.mean(per_example(point, batch))

    def step(fixed: _Fixed, state: _State, number: jax.Array) -> tuple[_State, jax.Array]:
        key_batch, key_times = jax.random.split(jax.random.fold_in(jax.random.key(settings.seed), number))
        count = jax.tree.leaves(fixed.arrays)[0].shape[0]
        rows = jax.random.randint(key_batch, (min(settings.batch_size, count),), 0, count)
        batch = jax.tree.map(lambda x: x[rows], fixed.arrays)
        at = functools.partial(loss_at, fixed=fixed, batch=batch)
        loss, slopes = gradient(at, fixed, state.bends, key_times)
        updates, kept = optimizer.update(jnp.where(fixed.free, slopes, 0), state.optimizer, state.bends)
        bends = optax.apply_updates(state.bends, updates)
        if settings.curve == NEB:
            bends = _equally_spaced(fixed.first, bends, fixed.last)
        return _State(bends, kept), loss

    return step


def _mean_gradient(  # noqa: PLR0917  the curve is bound first
    curve: str, at: Callable[[jax.Array], jax.Array], fixed: _Fixed, bends: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the mean loss over stratified times and its gradient: steps 1 and 2 of curves and chains."""
    times = (jnp.arange(NUM_TIMES) + jax.random.uniform(key, (NUM_TIMES,), bends.dtype)) / NUM_TIMES

    def mean(bends: jax.Array) -> jax.Array:
        controls = jnp.concatenate([fixed.first[None], bends, fixed.last[None]])
        weights = basis(curve, times, len(bends))
        return jnp.mean(jnp.stack([at(row @ controls) for row in weights]))

    loss, slopes = jax.value_and_grad(mean)(bends)
    return loss, slopes


def _band_gradient(
    at: Callable[[jax.Array], jax.Array], fixed: _Fixed, bends: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the mean loss of the images and their nudged gradients: steps 1 and 2 of the elastic band."""
    del key  # a band has no times to draw
    losses, slopes = jax.lax.map(jax.value_and_grad(at), bends)
    controls = jnp.concatenate([fixed.first[None], bends, fixed.last[None]])
    tangents = controls[2:] - controls[:-2]
    lengths = jnp.linalg.norm(tangents, axis=1, keepdims=True)
    tangents = tangents / jnp.where(lengths > 0, lengths, 1)  # neighbours that coincide leave no direction
    along = jnp.sum(slopes * tangents, axis=1, keepdims=True)
    return jnp.mean(losses), slopes - along * tangents


def _equally_spaced(first: jax.Array, bends: jax.Array, last: jax.Array) -> jax.Array:
    """Return as many points at equal distances along the polygon: step 4 of the elastic band."""
    controls = jnp.concatenate([first[None], bends, last[None]])
    pieces = jnp.linalg.norm(jnp.diff(controls, axis=0), axis=1)
    ends = jnp.concatenate([jnp.zeros(1, pieces.dtype), jnp.cumsum(pieces)])
    wanted = ends[-1] * jnp.arange(1, len(bends) + 1) / (len(bends) + 1)
    index = jnp.clip(jnp.searchsorted(ends, wanted, side="right") - 1, 0, len(pieces) - 1)
    inside = (wanted - ends[index]) / jnp.where(pieces[index] > 0, pieces[index], 1)
    return controls[index] + inside[:, None] * (controls[index + 1] - controls[index])


def _run(  # noqa: PLR0917  the step is bound first
    step: Callable[..., Any],
    fixed: _Fixed,
    state: _State,
    start: jax.Array,
    count: jax.Array,
    history: jax.Array,
) -> tuple[_State, jax.Array]:
    """Run `count` steps from number `start`; one program for every count."""

    def body(i: jax.Array, carry: tuple[_State, jax.Array]) -> tuple[_State, jax.Array]:
        state, history = carry
        state, loss = step(fixed, state, start + i)
        return state, history.at[i].set(loss.astype(history.dtype))

    final: tuple[_State, jax.Array] = jax.lax.fori_loop(0, count, body, (state, history))
    return final


_MOST_STEPS = 256  # in one call of the program


def _loop(  # noqa: PLR0917  the state of one loop
    run: Any,
    fixed: _Fixed,
    state: _State,
    done: int,
    history: np.ndarray,
    pieces: Pieces,
    progress: Progress,
    label: str,
) -> Trained:
    """Run all steps in chunks of about `_CHUNK_SECONDS`, keeping the state now and then."""
    total, started = len(history), time.monotonic()
    count, last = 1, started
    buffer = jnp.zeros(_MOST_STEPS, jnp.float32)
    progress.start(label, total=total)
    progress.advance(done)
    progress.note("compiling")
    try:
        with differentiable():
            while done < total:
                count = min(count, total - done, _MOST_STEPS)
                began = time.monotonic()
                state, losses = run(fixed, state, np.int32(done), np.int32(count), buffer)
                history[done : done + count] = np.asarray(losses)[:count]
                done += count
                if time.monotonic() - last > _SECONDS_PER_PIECE:
                    _keep(pieces, state, history, done)
                    last = time.monotonic()
                progress.advance(count, loss=float(history[done - 1]))
                per_step = (time.monotonic() - began) / count
                count = max(1, min(2 * count, int(_CHUNK_SECONDS / max(per_step, 1e-9))))
    except BaseException:
        _keep(pieces, state, history, done)
        raise
    finally:
        progress.stop()
    _keep(pieces, state, history, done)
    return Trained(bends=np.asarray(state.bends), history=history, seconds=time.monotonic() - started)


def _keep(pieces: Pieces, state: _State, history: np.ndarray, done: int) -> None:
    if pieces.folder is None:
        return
    leaves = {f"leaf-{i:03d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    pieces.keep("training", {**leaves, "history": history, "done": np.array(done)})


def _restored(pieces: Pieces, state: _State, history: np.ndarray) -> tuple[_State, int]:
    kept: Mapping[str, np.ndarray] | None = pieces.found.get("training")
    if kept is None:
        return state, 0
    leaves, structure = jax.tree.flatten(state)
    given = [on_device(kept[f"leaf-{i:03d}"]) for i in range(len(leaves))]
    history[:] = kept["history"]
    restored: _State = jax.tree.unflatten(structure, given)
    return restored, int(kept["done"])
