"""Control tasks: episodes that a loop by hand agrees with, to the rules of the interface."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Checkpoint, Problem, hessian, load, save
from landscape.errors import (
    ArchitectureMismatchError,
    ConfigurationError,
    MissingDependencyError,
    ProblemError,
)
from landscape.problem import problem_of
from landscape.trees import Layout
from trainers import tasks
from trainers.config import CONTROL, control_options, from_dict, resolve
from trainers.tasks import (
    Continuous,
    Discrete,
    Environment,
    Transition,
    control_task,
    episode_key,
    gymnax_environments,
    load_task,
    reset_key,
    step_key,
    with_sticky_actions,
)
from trainers.tasks.control import ControlTask
from trainers.tasks.episodes import population_returns
from trainers.tasks.networks import build, chain, initialise
from trainers.tasks.policies import policy_of

gymnax = pytest.importorskip("gymnax")

SMALL = {"kind": "policy", "widths": [4]}
CNN = {"kind": "policy-cnn", "channels": 2, "widths": [4]}
SPLITS = {"train_episodes": 16, "validation_episodes": 8, "test_episodes": 8}


def small(name: str, network: Any = None, **options: Any) -> ControlTask:
    return load_task(name, network or SMALL, **{"episode_length": 8, **SPLITS, **options})


def by_hand(task: ControlTask, params: Any, seed: int) -> tuple[float, int]:
    """Play one episode in Python over gymnax itself, not over our interface."""
    env, constants = gymnax.make(CONTROL[task.name].title)
    key = jax.random.key(seed)
    observation, state = jax.jit(env.reset_env)(jax.random.fold_in(key, 0), constants)
    step = jax.jit(env.step_env)
    total = 0.0
    for t in range(task.environment.length):
        hidden = np.asarray(observation, np.float32).reshape(-1)
        for layer in params.values():
            hidden = hidden @ layer["kernel"] + layer["bias"]
            hidden = np.tanh(hidden) if layer is not list(params.values())[-1] else hidden
        space = env.action_space(constants)
        if hasattr(space, "n"):
            action = jnp.int32(np.argmax(hidden))
        else:
            low, high = np.asarray(space.low), np.asarray(space.high)
            action = jnp.asarray((low + high) / 2 + (high - low) / 2 * np.tanh(hidden), jnp.float32)
        observation, state, reward, terminated, _ = step(
            jax.random.fold_in(key, t + 1), state, action, constants
        )
        total += float(reward)
        if bool(terminated):
            return total, t + 1
    return total, task.environment.length


@pytest.mark.parametrize("name", CONTROL)
def test_returns_are_those_of_a_loop_by_hand(name: str) -> None:
    task = small(name, **({"sticky": 0.0} if CONTROL[name].images else {}))
    params = jax.tree.map(lambda x: 3 * x, task.init(0))
    seeds = task.problem.head(2)
    found = task.episodes(params, jnp.asarray(seeds))
    expected = [by_hand(task, params, int(seed)) for seed in seeds]
    np.testing.assert_allclose(found.returns, [total for total, _ in expected], rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(found.lengths, [length for _, length in expected])


def test_an_episode_that_ends_early_counts_until_its_end() -> None:
    task = small("cartpole", episode_length=60)
    always_right = jax.tree.map(jnp.zeros_like, task.init(0))
    always_right["Dense_1"]["bias"] = jnp.array([0.0, 1.0])
    found = task.episodes(always_right, jnp.arange(4))
    expected = [by_hand(task, jax.tree.map(np.asarray, always_right), seed) for seed in range(4)]
    assert max(found.lengths) < 15
    np.testing.assert_array_equal(found.returns, found.lengths)
    np.testing.assert_array_equal(found.returns, [total for total, _ in expected])


def counting(*, ends_at: int = 1000, breaks_at: int = 1000, **options: Any) -> ControlTask:
    """An environment that counts: a reward of 1 per step, and it ends or breaks where it is told."""

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        start = jax.random.uniform(key, ())
        return (jnp.int32(0), start), jnp.stack([start, 0.0])

    def step(key: jax.Array, state: Any, action: jax.Array) -> Transition:
        count, start = state
        seen = jnp.where(count + 1 == breaks_at, options.get("broken", jnp.nan), start)
        observation = jnp.stack([seen, 0.0]).astype(jnp.float32)
        return Transition((count + 1, start), observation, jnp.float32(1), count + 1 >= ends_at)

    environment = Environment(
        name="counting",
        observation_shape=(2,),
        actions=Discrete(2),
        length=options.get("length", 10),
        reset=reset,
        step=step,
    )
    return control_task(environment, SMALL, options=SPLITS)


@pytest.mark.parametrize(("ends_at", "length"), [(3, 10), (10, 10), (11, 10), (1, 10)])
def test_the_reward_of_the_last_step_counts_and_nothing_after_it(ends_at: int, length: int) -> None:
    expected = min(ends_at, length)
    task = counting(ends_at=ends_at, length=length)
    found = task.episodes(task.init(0), jnp.arange(3))
    np.testing.assert_array_equal(found.returns, [expected] * 3)
    np.testing.assert_array_equal(found.lengths, [expected] * 3)


def test_actions_stick_as_often_as_they_should() -> None:
    """False alarm at a fixed seed: 5 standard errors of 4,000 draws."""

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        return jnp.int32(0), jnp.zeros(2)

    def step(key: jax.Array, state: Any, action: jax.Array) -> Transition:
        return Transition(action, jnp.zeros(2), (action == 1).astype(jnp.float32), jnp.bool_(False))

    plain = Environment(
        name="noting", observation_shape=(2,), actions=Discrete(2), length=1, reset=reset, step=step
    )
    assert with_sticky_actions(plain, 0.0) is plain
    sticky = with_sticky_actions(plain, 0.25)
    keys = jax.vmap(episode_key)(jnp.arange(4000))

    def play(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state, _ = sticky.reset(reset_key(key))
        first = sticky.step(step_key(key, 0), state, jnp.int32(1))
        second = sticky.step(step_key(key, 1), first.state, jnp.int32(0))
        return first.reward, second.reward

    first, second = jax.jit(jax.vmap(play))(keys)
    bound = 5 * np.sqrt(0.25 * 0.75 / 4000)
    assert abs(1 - first.mean() - 0.25) < bound  # action 0 was done before the first step
    assert abs(second.mean() - 0.75 * 0.25) < bound  # what was done, not what was asked for


def test_episodes_of_a_game_differ_by_their_sticky_actions() -> None:
    options = {"episode_length": 60, "test_episodes": 32}
    params = small("breakout", **options).init(2)
    without, with_half = (
        np.unique(small("breakout", sticky=sticky, **options).episodes(params, jnp.arange(32)).returns)
        for sticky in (0.0, 0.5)
    )
    assert len(without) <= 2  # the ball starts on the left or on the right
    assert len(with_half) > len(without)


def test_a_time_limit_is_no_termination() -> None:
    for name in ("pendulum", "cartpole", "freeway"):
        environment = small(name, episode_length=2).environment
        state, _ = jax.jit(environment.reset)(reset_key(episode_key(0)))
        step = jax.jit(environment.step)
        for t in range(4):  # beyond the limit
            action = environment.actions.of(jnp.zeros(environment.actions.num_outputs))
            moved = step(step_key(episode_key(0), t), state, action)
            assert not moved.terminated
            assert jax.tree.structure(moved.state) == jax.tree.structure(state)
            state = moved.state


@pytest.mark.faults
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_dynamics_that_are_not_finite_are_counted_and_not_spread(broken: float) -> None:
    """Fault 42: a pole at an angle of NaN never falls, and would be the best of all."""
    task = counting(breaks_at=2, length=6, broken=broken)
    params = task.init(0)
    found = task.episodes(params, jnp.arange(2))
    assert np.isnan(found.returns).all()
    np.testing.assert_array_equal(found.lengths, [3, 3])  # the third step saw it
    ended = counting(breaks_at=3, ends_at=3, length=6, broken=broken)  # broken after the end: never seen
    np.testing.assert_array_equal(ended.episodes(params, jnp.arange(2)).returns, [3, 3])
    whole = counting(length=6)
    stacked = jax.tree.map(lambda x: jnp.stack([x, x, x]), params)
    stacked["Dense_1"]["bias"] = stacked["Dense_1"]["bias"].at[1].set(jnp.nan)
    assert whole.problem.population_loss is not None
    losses = jax.jit(whole.problem.population_loss)(stacked, jnp.arange(2, dtype=jnp.uint32))
    np.testing.assert_array_equal(losses, [-6, np.nan, -6])


@pytest.mark.parametrize("name", ["pendulum", "acrobot", "breakout"])
def test_an_episode_is_the_same_whatever_stands_beside_it(name: str) -> None:
    task = small(name, episode_length=60, test_episodes=24)
    params = jax.tree.map(lambda x: 2 * x, task.init(1))
    whole = task.problem.per_example(params, "test")["return"]
    for size in (1, 7, 24):
        parts = task.problem.per_example(params, "test", batch_size=size)
        np.testing.assert_array_equal(parts["return"], whole)
    with jax.enable_x64(True):
        again = small(name, episode_length=60, test_episodes=24)
    np.testing.assert_array_equal(again.problem.per_example(params, "test")["return"], whole)
    wide = task.problem.per_example(params, "test", dtype=np.float64)
    np.testing.assert_array_equal(wide["return"], whole)
    np.testing.assert_array_equal(wide["loss"], -whole)


@pytest.mark.parametrize(("name", "network"), [("pendulum", SMALL), ("cartpole", SMALL), ("breakout", CNN)])
def test_a_population_has_the_mean_losses_of_its_members(name: str, network: Any) -> None:
    task = small(name, network)
    members = [jax.tree.map(lambda x: 2 * x, task.init(seed)) for seed in range(5)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *members)
    seeds = jnp.asarray(task.problem.head(6))
    alone = [-float(jnp.mean(task.episodes(params, seeds).returns)) for params in members]
    assert task.problem.population_loss is not None
    assert task.problem.batched_loss is not None
    np.testing.assert_allclose(jax.jit(task.problem.population_loss)(stacked, seeds), alone, rtol=1e-5)
    # A byte: one member at a time.
    tight = jax.jit(task.problem.batched_loss, static_argnums=2)(stacked, seeds, 1)
    np.testing.assert_allclose(tight, alone, rtol=1e-5)


def test_members_that_do_not_fill_the_last_tile_are_evaluated_once() -> None:
    task = counting(length=4)
    params = jax.tree.map(lambda *x: jnp.stack(x), *[task.init(seed) for seed in range(7)])
    bytes_of_three = 4 * 3 * 2 * (2 + 256)
    found = population_returns(
        task.environment, task.policy, params, jnp.arange(2), memory_bytes=bytes_of_three
    )
    np.testing.assert_array_equal(found, np.full((7, 2), 4.0))


def test_splits_are_disjoint_seeds_and_the_return_is_better_where_it_is_higher() -> None:
    problem = small("pendulum").problem
    seeds = [set(np.asarray(problem.head(100, split)).tolist()) for split in ("train", "validation", "test")]
    assert [len(found) for found in seeds] == [16, 8, 8]
    assert len(set().union(*seeds)) == 32
    assert problem.metrics["return"].higher_is_better
    assert not problem.differentiable
    found = problem.evaluate(load_task("pendulum", SMALL).init(0), "test")
    assert found["return"] == -found["loss"]


@pytest.mark.parametrize(("network", "shape"), [(SMALL, (3,)), (CNN, (10, 10, 4)), (SMALL, (10, 10, 4))])
def test_policies_are_the_networks_that_they_are_called(network: Any, shape: tuple[int, ...]) -> None:
    params = initialise(network, shape, 0, num_outputs=3)
    observations = jax.random.normal(jax.random.key(0), (6, *shape))
    policy = policy_of(network, shape)
    expected = build(network, 3).apply({"params": params}, observations)
    np.testing.assert_allclose(policy(params, observations), expected, rtol=1e-5, atol=1e-6)
    pair = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params)
    both = policy(pair, jnp.stack([observations, observations]))
    np.testing.assert_allclose(both[0], expected, rtol=1e-5, atol=1e-6)
    doubled = build(network, 3).apply({"params": jax.tree.map(lambda x: 2 * x, params)}, observations)
    np.testing.assert_allclose(both[1], doubled, rtol=1e-5, atol=1e-6)
    assert [layer.path for layer in chain(network)] == [
        f"{name}/kernel" for name in sorted(params, key=lambda name: (name.startswith("Dense"), name))
    ]


def test_the_default_policy_is_the_papers() -> None:
    params = load_task("pendulum", **SPLITS).init(0)
    sizes = {name: np.shape(layer["kernel"]) for name, layer in params.items()}
    assert sizes == {"Dense_0": (3, 32), "Dense_1": (32, 32), "Dense_2": (32, 1)}
    assert params["Dense_0"]["bias"].min() >= 0
    assert params["Dense_0"]["bias"].max() <= 0.05


def test_actions_fill_their_range_and_no_more() -> None:
    actions = Continuous(np.float32([-2, 0]), np.float32([2, 1]))
    found = actions.of(jnp.array([[-50.0, -50.0], [0.0, 0.0], [50.0, 50.0]]))
    np.testing.assert_allclose(found, [[-2, 0], [0, 0.5], [2, 1]])
    assert Discrete(3).of(jnp.array([0.0, 2.0, 1.0])) == 1


def test_options_change_the_dynamics_and_are_stored_with_the_ticket(tmp_path: Any) -> None:
    heavy = small("pendulum", mass=2.0, length=0.5)
    plain = small("pendulum")
    params = plain.init(0)
    assert heavy.problem.evaluate(params)["return"] != plain.problem.evaluate(params)["return"]
    described = dict(heavy.problem.task or {})
    network = described.pop("network")
    path = tmp_path / "ticket.h5"
    save(path, Checkpoint(params=params, info={"task": described, "network": network}))
    found = problem_of(load(path))
    assert found.evaluate(params) == heavy.problem.evaluate(params)
    assert described["options"] == control_options(
        "pendulum", {**SPLITS, "episode_length": 8, "mass": 2, "length": 0.5}
    )


def test_constants_that_follow_from_options_follow() -> None:
    found = gymnax_environments._cartpole(
        {"cart_mass": 2.0, "pole_mass": 0.5, "half_length": 1.0, "gravity": 9.8}
    )
    assert found["total_mass"] == 2.5
    assert found["polemass_length"] == 0.5


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "network", "options", "named"),
    [
        ("pendulum", None, {"mas": 2}, "mass"),
        ("pendulum", None, {"mass": 0}, "> 0"),
        ("pendulum", None, {"episode_length": 0}, "whole number"),
        ("pendulum", {"kind": "mlp", "widths": [3]}, {}, "policy"),
        ("pendulum", CNN, {}, "policy"),
        ("cartpole", None, {"mass": 2.0}, "mass"),
        ("breakout", None, {"sticky": 1.0}, "< 1"),
        ("breakout", None, {"test_episodes": 2**21}, "whole number"),
    ],
)
def test_options_and_networks_that_a_task_does_not_have_are_refused(
    name: str, network: Any, options: dict[str, Any], named: str
) -> None:
    """Fault 31."""
    with pytest.raises(ConfigurationError, match=named):
        load_task(name, network, **options)
    given = {"task": name, "task_options": options, **({"network": network} if network else {})}
    with pytest.raises(ConfigurationError, match=named):
        from_dict(given, own_problem=False)


def test_nothing_of_gymnax_is_loaded_by_other_tasks() -> None:
    code = (
        "import sys; import trainers.tickets.iterative, trainers.tasks.control\n"
        "from trainers.tasks import load_task\n"
        "load_task('digits').init(0)\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('gymnax', 'gymnasium', 'matplotlib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.faults
def test_without_gymnax_a_task_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 32."""
    for missing in ("gymnax", "six"):
        with monkeypatch.context() as patch:
            for module in [name for name in sys.modules if name.split(".")[0] in ("gymnax", missing)]:
                patch.delitem(sys.modules, module)
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(MissingDependencyError) as refused:
                tasks.pendulum()
            assert refused.value.exit_code == 3
            assert 'pip install "ticketscape[control]"' in str(refused.value)


@pytest.mark.faults
def test_parameters_of_another_policy_are_refused_by_path() -> None:
    """Fault 10."""
    other = load_task("pendulum", {"kind": "policy", "widths": [5]}, **SPLITS).init(0)
    with pytest.raises(ArchitectureMismatchError, match="Dense_0"):
        small("pendulum").problem.evaluate(other)


def test_a_run_of_a_control_task_has_a_policy_unless_it_says_otherwise() -> None:
    assert from_dict({"task": "pendulum"}).network == {"kind": "policy", "widths": [32, 32]}
    assert resolve("smoke", overrides=["task=cartpole"]).network == {"kind": "policy", "widths": [32, 32]}
    kept = resolve("smoke", overrides=["task=breakout", "network={kind='policy-cnn',channels=4,widths=[8]}"])
    assert kept.network["channels"] == 4
    assert from_dict({}).network == {"kind": "mlp", "widths": [32]}


def test_vectors_of_a_population_unfold_into_policies() -> None:
    task = small("pendulum")
    like = task.init(0)
    layout = Layout.of(like)
    assert isinstance(task.problem, Problem)
    stacked = layout.unflatten(jnp.stack([layout.flatten(like)] * 2), like)
    assert task.problem.population_loss is not None
    assert task.problem.population_loss(stacked, jnp.arange(3)).shape == (2,)


def test_gradients_are_refused_by_name() -> None:
    with pytest.raises(ProblemError, match="smoothed"):
        hessian(small("pendulum").problem, small("pendulum").init(0))
