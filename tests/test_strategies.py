"""One conformance table over every evolution strategy, and what is refused."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import evosax.algorithms
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Checkpoint, load, save
from landscape.errors import ConfigurationError
from trainers.config import EvolutionConfig, paper_settings
from trainers.strategies import FACTS, REFUSED, STRATEGIES, no_snr
from trainers.strategies.base import LEAST_STD, step_optimizer
from trainers.strategies.pgpe import PGPEStrategy
from trainers.training import Evolution
from trainers.training.protocol import Step

NAMES = sorted(STRATEGIES)
SCALED = [name for name in NAMES if FACTS[name].per_parameter]
SIZE, MEMBERS, SEEDS = 10, 64, 2
# The steepest and the flattest half of the quadratic: σ should end at the ratio sqrt(0.1 / 10) = 0.1.
CURVATURES = np.repeat([10.0, 0.1], SIZE // 2)
# Generations until σ has adapted. Not many more: a converged covariance of Sep-CMA-ES is taken over
# by evosax's diagonal loading of 1e-8, and the learned strategy's scale by a constant of the same size.
ADAPTED = {
    "snes": 60,
    "sep-cma-es": 25,
    "pgpe": 1200,
    "des": 160,
    "simple-es": 200,
    "iamalgam": 60,
    "les": 80,
}


class Objective(NamedTuple):
    """A quadratic, some of whose values are lost; the minibatch of these tests, seeds first."""

    curvatures: Any
    num_nan: Any
    flat: Any


def evaluate(population: jax.Array, objective: Objective) -> jax.Array:
    loss = 0.5 * jnp.sum(objective.curvatures * population**2, axis=-1)
    loss = jnp.where(objective.flat, 1.0, loss)
    member = jnp.arange(population.shape[0])
    lost = jnp.where(member % 2, jnp.inf, jnp.nan)  # both count as NaN
    return jnp.where(member < objective.num_nan, lost, loss)


def objective(
    curvatures: Any = None, *, num_nan: int = 0, flat: bool = False, seeds: int = SEEDS
) -> Objective:
    vector = np.ones(SIZE) if curvatures is None else np.asarray(curvatures)
    return Objective(
        np.tile(vector.astype(np.float32), (seeds, 1)),
        np.full(seeds, num_nan, np.int32),
        np.full(seeds, flat),
    )


def config(name: str, **changes: Any) -> EvolutionConfig:
    values: dict[str, Any] = {"population_size": MEMBERS, "std_init": 0.3, "mean_decay": 0.0}
    if name == "snes":
        values["temperature"] = None
    return EvolutionConfig(strategy=name, **{**values, **changes})


@functools.cache
def trainer(name: str, **changes: Any) -> Evolution:
    return Evolution(config(name, **changes), SIZE, evaluate)


@functools.cache
def driver(name: str, **changes: Any) -> Any:
    """Return a compiled ``(state, objective, keys [S], first, last) -> (state, info)``."""
    search = trainer(name, **changes)
    constants = search.constants(SIZE)

    def body(step: jax.Array, carry: Any) -> Any:
        state, _, batch, keys = carry
        now = jax.vmap(lambda key: jax.random.fold_in(key, step))(keys)
        mask = jnp.ones((len(keys), SIZE), bool)
        return *search.step(state, Step(batch, now, mask, constants)), batch, keys

    @jax.jit
    def advance(state: Any, batch: Objective, keys: jax.Array, first: int, last: int) -> Any:
        info = {name: jnp.zeros(len(keys)) for name in search.info_names}
        return jax.lax.fori_loop(first, last, body, (state, info, batch, keys))[:2]

    return advance


def seed_keys(seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), SEEDS)


def start(name: str, mean: np.ndarray | None = None, **changes: Any) -> Any:
    mean = np.ones((SEEDS, SIZE)) if mean is None else mean
    search = trainer(name, **changes)
    return search.init(mean, np.ones(mean.shape, bool), search.constants(SIZE))


def run(name: str, steps: int, batch: Objective, *, seed: int = 0, **changes: Any) -> Any:
    return driver(name, **changes)(start(name, **changes), batch, seed_keys(seed), 0, steps)


def scale(search: Evolution, state: Any) -> np.ndarray:
    """Return the standard deviations [S, n], also of strategies that have one for all weights."""
    return np.asarray(jax.vmap(search.strategy.std)(state))


def curvature_ratio(name: str, steps: int, **changes: Any) -> np.ndarray:
    state, _ = run(name, steps, objective(CURVATURES), **changes)
    std = scale(trainer(name, **changes), state)
    ratio: np.ndarray = std[:, : SIZE // 2].mean(1) / std[:, SIZE // 2 :].mean(1)
    return ratio


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_search_is_the_search_on_the_reduced_vector(name: str) -> None:
    """Given the same noise: the free entries of one are the other, to rounding."""
    rng = np.random.default_rng(1)
    size, free, members = 60, 12, 16
    chosen = np.sort(rng.choice(size, free, replace=False))
    mask, every = jnp.isin(jnp.arange(size), chosen), jnp.ones(free, bool)
    curvatures = np.geomspace(0.1, 10, free)
    settings = config(name, population_size=members, mean_decay=1e-3)
    masked, reduced = Evolution(settings, size, evaluate), Evolution(settings, free, evaluate)
    constants, few = masked.constants(free), reduced.constants(free)

    def body(generation: jax.Array, carry: Any) -> Any:
        state, small, sampled = carry
        key = jax.random.fold_in(jax.random.key(0), generation)
        population, small = reduced.ask(small, key, every, few)
        own, state = masked.ask(state, key, mask, constants)  # Sep-CMA-ES refreshes its scale in ask
        sampled = jnp.maximum(sampled, jnp.abs(own).max(0))
        full = jnp.zeros((members, size)).at[:, chosen].set(population)
        fitness = 0.5 * jnp.sum(curvatures * population**2, axis=-1)
        small = reduced.tell(small, population, fitness, mask=every, constants=few)
        return masked.tell(state, full, fitness, mask=mask, constants=constants), small, sampled

    begin = rng.normal(size=(1, free))
    wide = np.zeros((1, size))
    wide[:, chosen] = begin
    states = (
        masked.init(wide, np.asarray(mask)[None], constants),
        reduced.init(begin, np.asarray(every)[None], few),
    )
    one = jax.tree.map(lambda leaf: leaf[0], states)
    carry = (*one, jnp.zeros(size))
    state, small, sampled = jax.jit(lambda carry: jax.lax.fori_loop(0, 40, body, carry))(carry)
    np.testing.assert_allclose(state.mean[chosen], small.mean, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(
        masked.strategy.std(state)[chosen], reduced.strategy.std(small), rtol=2e-4, atol=1e-9
    )
    assert np.abs(np.asarray(small.mean) - begin).max() > 1e-3
    assert not np.asarray(state.mean)[~mask].any()
    assert (np.asarray(sampled) > 0.1).tolist() == mask.tolist()
    assert not np.asarray(sampled)[~mask].any()


@pytest.mark.parametrize("name", SCALED)
def test_the_scale_adapts_to_curvature(name: str) -> None:
    """On curvatures 10 : 0.1 the ideal ratio of standard deviations is 0.1."""
    ratio = curvature_ratio(name, ADAPTED[name])
    assert ((ratio > 0.08) & (ratio < 0.14)).all(), ratio


def test_pgpe_in_the_paper_moves_its_scale_as_evosax_0_1_4_does() -> None:
    """Its PGPE.tell_strategy with the defaults sigma_lrate 0.1 and sigma_max_change 0.2, in float64."""
    search = PGPEStrategy(config("pgpe", profile="paper", population_size=8, std_init=0.1), 5)
    params = search.constants(5)
    rng = np.random.default_rng(0)
    state = search.es.init(jax.random.key(0), jnp.zeros(5), params)
    state = state.replace(std=jnp.asarray([0.1, 0.2, 0.4, 0.8, 3.0], jnp.float32))
    noise = np.asarray(state.std, np.float64) * rng.normal(size=(4, 5))
    population = jnp.asarray(np.concatenate([noise, -noise]), jnp.float32)
    cost = rng.permutation(8) / 7 - 0.5  # centred ranks, whatever the fitness
    found, _ = search.es.tell(jax.random.key(1), population, jnp.asarray(cost, jnp.float32), state, params)
    plus, minus, std = cost[:4], cost[4:], np.asarray(state.std, np.float64)
    order = np.argsort(np.minimum(plus, minus))
    scores = 0.5 * (plus[order] + minus[order])
    change = ((scores[:, None] - cost.mean()) * (noise**2 - std**2) / std).mean(0)
    wanted = np.clip(std + 0.1 * change, 0.8 * std, 1.2 * std)
    np.testing.assert_allclose(np.asarray(found.std), wanted, rtol=1e-5)
    assert not np.allclose(
        np.asarray(found.std), np.clip(std + 0.2 * change, 0.8 * std, 1.2 * std), rtol=1e-3
    )


def test_the_scale_of_pgpe_in_the_paper_takes_no_notice_of_curvature() -> None:
    """Scores in the order of rank, noise in the order of sampling: 1.00 instead of 0.10."""
    ratio = curvature_ratio("pgpe", 400, profile="paper")
    assert ((ratio > 0.8) & (ratio < 1.25)).all(), ratio


@pytest.mark.parametrize("name", NAMES)
def test_a_convex_loss_falls(name: str) -> None:
    _, info = run(name, 300, objective())
    assert (np.asarray(info["loss"]) < 2.0).all()  # 5 at the start, and noise adds 0.45


@pytest.mark.parametrize("name", NAMES)
def test_the_keys_decide_the_run(name: str) -> None:
    (first, _), (again, _), (other, _) = (run(name, 20, objective(), seed=seed) for seed in (0, 0, 1))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (np.asarray(first.mean) != np.asarray(other.mean)).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_went_through_a_file_goes_on_bitwise(name: str, tmp_path: Path) -> None:
    """Fault 23: what a snapshot keeps is the leaves, as arrays of the host."""
    advance, batch, keys = driver(name), objective(CURVATURES), seed_keys(5)
    whole, _ = advance(start(name), batch, keys, 0, 30)
    half, _ = advance(start(name), batch, keys, 0, 11)
    compiled = advance._cache_size()
    leaves, tree = jax.tree.flatten(half)
    stored = [np.asarray(leaf) for leaf in leaves]
    assert all(leaf.shape[0] == SEEDS for leaf in stored)
    params = {"mean": np.asarray(half.mean)}
    save(tmp_path / "half.h5", Checkpoint(params=params, state={"leaves": stored}))
    loaded = [jnp.asarray(leaf) for leaf in load(tmp_path / "half.h5").state["leaves"]]
    resumed, _ = advance(jax.tree.unflatten(tree, loaded), batch, keys, 11, 30)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert advance._cache_size() == compiled  # nothing is weakly typed or of another dtype


@pytest.mark.parametrize("name", NAMES)
def test_seeds_in_one_batch_are_the_seeds_alone(name: str) -> None:
    mean = np.stack([np.ones(SIZE), np.linspace(-1.0, 1.0, SIZE)])
    both, _ = driver(name)(start(name, mean), objective(CURVATURES), seed_keys(), 0, 3)
    for i in range(SEEDS):
        own = slice(i, i + 1)
        batch = objective(CURVATURES, seeds=1)
        alone, _ = driver(name)(start(name, mean[own]), batch, seed_keys()[own], 0, 3)
        for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b[0], rtol=1e-4, atol=1e-5)


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
def test_row_30_nan_fitness_is_counted_and_ranks_last(name: str) -> None:
    state, info = run(name, 300, objective(num_nan=9))
    np.testing.assert_array_equal(info["num_nan"], 9.0)
    assert all(np.isfinite(trainer(name).solution(state)).ravel())
    assert (np.asarray(info["loss"]) < 2.5).all()


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lost", [0, MEMBERS])
def test_row_30_fitness_that_says_nothing_changes_nothing(name: str, lost: int) -> None:
    """All equal, or none there."""
    begin = start(name)
    state, info = driver(name)(begin, objective(num_nan=lost, flat=True), seed_keys(), 0, 1)
    np.testing.assert_array_equal(state.mean, begin.mean)
    np.testing.assert_array_equal(scale(trainer(name), state), scale(trainer(name), begin))
    np.testing.assert_array_equal(info["stalled"], 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_decays_down_to_its_floor(name: str) -> None:
    search = Evolution(config(name, std_decay=0.9, std_min=0.2), SIZE, evaluate)
    constants, mask = search.constants(SIZE), jnp.ones(SIZE, bool)
    state = jax.tree.map(
        lambda leaf: leaf[0], search.init(np.ones((1, SIZE)), np.asarray(mask)[None], constants)
    )
    for generation, expected in enumerate((0.27, 0.243, 0.2187, 0.2, 0.2), start=1):
        state = state.replace(generation_counter=jnp.asarray(generation))
        state = search.strategy.settle(state, mask, constants)
        np.testing.assert_allclose(search.strategy.std(state), expected, rtol=1e-6)


def test_a_search_that_has_converged_stays_finite() -> None:
    """Without a floor σ would underflow to zero, and the next update be 0 / 0."""
    state, _ = run("snes", 1500, objective())
    assert np.isfinite(state.mean).all()
    assert scale(trainer("snes"), state).min() >= LEAST_STD * (1 - 1e-6)


def test_the_elite_ratio_means_what_it_says() -> None:
    for name, expected in (("sep-cma-es", 5), ("simple-es", 5)):
        search = Evolution(config(name, population_size=20, elite_ratio=0.25), SIZE, evaluate)
        weights = np.asarray(search.constants(SIZE).weights, np.float64)
        assert (weights > 0).sum() == expected
        assert weights.sum() == pytest.approx(1.0, rel=1e-6)
    assert Evolution(config("iamalgam", elite_ratio=0.25), SIZE, evaluate).strategy.es.num_elites == 16
    assert Evolution(config("ars", elite_ratio=0.25), SIZE, evaluate).strategy.es.num_elites == 8


@pytest.mark.parametrize("name", ["des", "iamalgam", "les", "pgpe", "simple-es"])
def test_constants_are_those_of_evosax_at_the_dense_size(name: str) -> None:
    search = trainer(name)
    defaults = search.strategy.es.default_params.replace(**_std_init(search, 0.3))
    for ours, theirs in zip(jax.tree.leaves(search.constants(SIZE)), jax.tree.leaves(defaults), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_finite_down_to_one_free_weight(name: str) -> None:
    for num_free in (1, 2, 5, SIZE):
        for leaf in jax.tree.leaves(trainer(name).constants(num_free)):
            assert np.isfinite(leaf).all()


def _std_init(search: Evolution, value: float) -> dict[str, float]:
    known = {item.name for item in dataclasses.fields(search.strategy.es.default_params)}
    return {"std_init": value} if "std_init" in known else {}


def test_the_learning_rate_decays_down_to_its_floor() -> None:
    settings = config("des", mean_learning_rate_decay=0.5, mean_learning_rate_min=0.2)
    optimizer = step_optimizer(settings)
    state = optimizer.init(jnp.zeros(1))
    rates = []
    for _ in range(4):
        update, state = optimizer.update(-jnp.ones(1), state)
        rates.append(float(update[0]))
    assert rates == pytest.approx([1.0, 0.5, 0.25, 0.2])


def test_only_strategies_with_a_scale_a_weight_have_a_signal_to_noise_ratio() -> None:
    for name in NAMES:
        has = trainer(name).std(start(name)) is not None
        assert has == FACTS[name].per_parameter == (no_snr(name) is None)
    assert "one standard deviation for all weights" in str(no_snr("open-es"))


def test_the_score_of_the_paper_divides_sep_cma_es_by_its_variance() -> None:
    for name in NAMES:
        for profile in ("corrected", "paper"):
            expected = "variance" if (name, profile) == ("sep-cma-es", "paper") else "std"
            assert Evolution(config(name, profile=profile), 3, evaluate).snr_denominator == expected


def test_the_profile_of_evosax_leaves_the_covariance_as_slow_as_there() -> None:
    search = Evolution(config("sep-cma-es", profile="evosax"), 5_000, evaluate)
    raw = float(search.strategy.es.default_params.c_mu)
    assert float(search.constants(5_000).c_mu) == pytest.approx(raw, rel=1e-3)


def test_every_algorithm_of_evosax_is_offered_or_refused_with_a_reason() -> None:
    """So that a new one is looked at, and not forgotten."""
    theirs = {re.sub("[^a-z0-9]", "", name.lower()) for name in evosax.algorithms.algorithms}
    ours = {re.sub("[^a-z0-9]", "", name) for name in (*STRATEGIES, *REFUSED)}
    assert theirs == ours - {"iamalgam"} | {"iamalgamunivariate"}
    assert not set(STRATEGIES) & set(REFUSED)


@pytest.mark.faults
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_row_31_a_strategy_that_cannot_be_masked_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(REFUSED[name][:30])):
        EvolutionConfig(strategy=name)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["pgpe", "open-es", "ars"])
def test_row_30_pairs_need_an_even_population(name: str) -> None:
    with pytest.raises(ConfigurationError, match="even number"):
        EvolutionConfig(strategy=name, population_size=5)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "pgpe", "temperature": 3.0}, "temperature: expected auto .pgpe uses"),
        ({"strategy": "les", "elite_ratio": 0.4}, "elite_ratio: expected auto"),
        ({"strategy": "snes", "beta1": 0.9}, "beta1: expected auto"),
        ({"strategy": "sep-cma-es", "std_learning_rate": 0.3}, "std_learning_rate: expected auto"),
        ({"strategy": "des", "temperature": None}, "temperature: expected a number"),
        ({"strategy": "iamalgam", "elite_ratio": 1.0}, "elite_ratio: expected a number < 1"),
        ({"strategy": "ars", "elite_ratio": "most"}, "elite_ratio: expected"),
        ({"profile": "published"}, "profile: expected one of"),
    ],
)
def test_row_31_keys_without_a_use_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EvolutionConfig(**values)
    (problem,) = caught.value.problems
    assert re.search(message, problem)


def test_a_default_that_says_nothing_is_no_fault() -> None:
    """So that a configuration that spells out every key stays valid for another strategy."""
    assert EvolutionConfig(strategy="snes", elite_ratio=0.5, beta1=0.99).strategy == "snes"
    assert EvolutionConfig(strategy="sep-cma-es", temperature=12.0).setting("elite_ratio") == 0.5


def test_settings_go_over_to_another_strategy_without_what_it_does_not_use() -> None:
    settings = EvolutionConfig(strategy="snes", temperature=3.0, mean_learning_rate=0.5, generations=7)
    other = settings.with_strategy("sep-cma-es", elite_ratio=0.2)
    assert (other.temperature, other.mean_learning_rate, other.generations) == ("auto", 0.5, 7)
    assert other.setting("elite_ratio") == 0.2
    with pytest.raises(ConfigurationError, match="memory"):
        settings.with_strategy("cma-es")


def test_published_settings_are_those_of_the_paper() -> None:
    found = {name: paper_settings(name, "mnist") for name in ("sep-cma-es", "snes", "pgpe", "des")}
    assert {name: settings.std_init for name, settings in found.items()} == {
        "sep-cma-es": 0.025,
        "snes": 0.025,
        "pgpe": 0.05,
        "des": 0.1,
    }
    assert found["sep-cma-es"].setting("elite_ratio") == 0.5
    assert (found["snes"].setting("temperature"), found["des"].setting("temperature")) == (12.0, 12.5)
    pgpe = found["pgpe"]
    keys = ("mean_learning_rate", "mean_learning_rate_decay", "mean_learning_rate_min", "beta1", "beta2")
    assert [pgpe.setting(key) for key in keys] == [0.01, 0.999, 0.001, 0.99, 0.999]
    assert (pgpe.std_decay, pgpe.std_min) == (0.999, 0.01)
    for settings in found.values():
        size = (settings.population_size, settings.generations, settings.batch_size, settings.mean_decay)
        assert size == (128, 4000, 1024, 1e-4)
    assert paper_settings("pgpe", "ant", generations=10).mean_decay == 1e-5


@pytest.mark.parametrize(("strategy", "task"), [("les", "mnist"), ("pgpe", "pendulum"), ("snes", "chess")])
def test_settings_that_were_not_published_are_not_made_up(strategy: str, task: str) -> None:
    with pytest.raises(ConfigurationError, match=f"nothing was published for {strategy} on {task}"):
        paper_settings(strategy, task)
