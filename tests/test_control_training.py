"""Tickets of control tasks: trained, stopped, stored, compared and moved like those of images."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import StopAfter, arrays, assert_same_run

from cli.main import run as command_line
from landscape import load, loss_barrier
from landscape.errors import ConfigurationError, InterruptedRunError
from landscape.problem import problem_of
from landscape.trees import Layout
from trainers import train_tickets, transfer_config, transfer_table
from trainers.config import EvolutionConfig, RunConfig, from_dict, paper_settings, resolve
from trainers.reports import write_run_page
from trainers.runs import Run
from trainers.tasks import (
    Discrete,
    Environment,
    Transition,
    constant_policies,
    control_task,
    load_task,
)
from trainers.training import Engine, Evolution, population_evaluator

pytest.importorskip("gymnax")

OPTIONS = {"episode_length": 20, "train_episodes": 24, "validation_episodes": 8, "test_episodes": 12}


def tiny(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "tiny",
        "task": "pendulum",
        "task_options": OPTIONS,
        "network": {"kind": "policy", "widths": [6]},
        "methods": ["es-snr", "es-random", "connected"],
        "method": {"connected": {"algorithm": "es", "source": "es-snr", "control": "connected-random"}},
        "seeds": [0, 1],
        "pruning": {"levels": 2, "ratio": 0.5},
        "evolution": {"population_size": 8, "generations": 9, "batch_size": 3, "eval_every": 4},
        "runtime": {"chunk_seconds": 0.01},
    }
    return from_dict({**values, **changes}, own_problem=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_tickets(tiny(), tmp_path_factory.mktemp("control") / "tiny")


@pytest.mark.parametrize("name", ["small-cartpole", "small-pendulum", "small-acrobot", "small-minatar"])
def test_a_small_preset_has_six_levels_three_seeds_and_the_connected_control(name: str) -> None:
    config = resolve(name)
    assert config.name == name
    assert len(config.pruning.schedule) >= 6
    assert len(config.seeds) >= 3
    assert {"es-snr", "es-magnitude", "es-random", "connected"} <= set(config.methods)
    assert config.resolved("connected").control == "connected-random"


def test_the_published_protocol_of_pendulum_is_a_preset() -> None:
    config = resolve("paper-pendulum")
    expected = paper_settings("sep-cma-es", "pendulum")
    assert config.evolution == expected
    assert config.evolution.population_size == 100
    assert config.network == {"kind": "policy", "widths": [32, 32]}
    assert config.pruning.schedule[-1] == pytest.approx(0.0144, abs=1e-4)
    assert len(config.seeds) == 5


def test_a_masked_search_is_the_search_of_the_smaller_policy() -> None:
    """Of four hidden units two are pruned: given the same noise, as if there were only two."""
    wide, narrow = (load_task("pendulum", {"kind": "policy", "widths": [n]}, **OPTIONS) for n in (4, 2))
    like, small = wide.init(0), narrow.init(0)
    layout, few = Layout.of(like), Layout.of(small)
    free = jax.tree.map(lambda leaf: np.zeros(leaf.shape, bool), like)
    for place in (free["Dense_0"]["kernel"][:, :2], free["Dense_0"]["bias"][:2]):
        place[...] = True
    free["Dense_1"]["kernel"][:2], free["Dense_1"]["bias"][:] = True, True
    mask = layout.flatten(free).astype(bool)
    assert mask.sum() == few.size
    settings = EvolutionConfig(strategy="snes", population_size=8, generations=1, batch_size=3, std_init=0.3)
    searches = [
        Evolution(settings, size.size, population_evaluator(task.problem, size, tree))
        for task, size, tree in ((wide, layout, like), (narrow, few, small))
    ]
    constants = searches[0].constants(few.size)
    start = few.flatten(jax.tree.map(lambda leaf: leaf + 0.1, small))
    every = jnp.ones(few.size, bool)
    seeds = jnp.asarray(wide.problem.head(3))

    def generation(step: jax.Array, carry: Any) -> Any:
        masked, reduced = carry
        key = jax.random.fold_in(jax.random.key(0), step)
        population, reduced = searches[1].ask(reduced, key, every, constants)
        _, masked = searches[0].ask(masked, key, jnp.asarray(mask), constants)
        full = jnp.zeros((8, layout.size)).at[:, np.flatnonzero(mask)].set(population)
        fitness = searches[0].evaluate(full, seeds), searches[1].evaluate(population, seeds)
        masked = searches[0].tell(masked, full, fitness[0], mask=jnp.asarray(mask), constants=constants)
        reduced = searches[1].tell(reduced, population, fitness[1], mask=every, constants=constants)
        return masked, reduced

    begin = np.zeros((1, layout.size))
    begin[:, mask] = start
    states = (
        searches[0].init(begin, mask[None], constants),
        searches[1].init(start[None], np.asarray(every)[None], constants),
    )
    one = jax.tree.map(lambda leaf: leaf[0], states)
    masked, reduced = jax.jit(lambda carry: jax.lax.fori_loop(0, 12, generation, carry))(one)
    np.testing.assert_allclose(masked.mean[mask], reduced.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(masked.std[mask], reduced.std, rtol=1e-4, atol=1e-6)
    assert np.abs(reduced.mean - start).max() > 0.05
    assert not np.asarray(masked.mean)[~mask].any()


def test_all_members_of_a_generation_share_the_episodes_that_its_step_draws() -> None:
    """Fitness at the first steps is the mean loss on three seeds of the training split, none twice."""
    task = load_task("pendulum", {"kind": "policy", "widths": [2]}, **OPTIONS)
    like = task.init(0)
    layout = Layout.of(like)
    seen: list[np.ndarray] = []

    def evaluate(population: jax.Array, batch: jax.Array) -> jax.Array:
        jax.debug.callback(lambda seeds: seen.append(np.asarray(seeds)), batch, ordered=True)
        return jnp.sum(population**2, axis=1)

    settings = EvolutionConfig(population_size=4, generations=16, batch_size=3)
    found = []
    for bounds in ([0, 16], [0, 5, 16]):
        seen.clear()
        engine = Engine(Evolution(settings, layout.size, evaluate), task.problem.arrays("train"))
        level = engine.level([7], 0, np.ones((1, layout.size), bool))
        carry = engine.start(level, layout.flatten(like)[None])
        for start, stop in itertools.pairwise(bounds):
            carry = jax.block_until_ready(engine.run(carry, level, start, stop))
        jax.effects_barrier()
        found.append(np.stack(seen))
    np.testing.assert_array_equal(*found)
    epochs = found[0].reshape(2, 24)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(24))
    assert (epochs[0] != epochs[1]).any()


@pytest.mark.faults
def test_members_whose_dynamics_break_are_counted_and_move_nothing() -> None:
    """Faults 30 and 42: whoever takes action 1 meets an observation of NaN."""

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        start = jax.random.normal(key, (2,))
        return start, start

    def step(key: jax.Array, state: Any, action: jax.Array) -> Transition:
        seen = jnp.where(action == 1, jnp.nan, state)
        return Transition(seen, seen, jnp.sum(state), jnp.bool_(False))

    breaking = Environment(
        name="breaking", observation_shape=(2,), actions=Discrete(2), length=4, reset=reset, step=step
    )
    task = control_task(breaking, {"kind": "policy", "widths": [3]}, options=OPTIONS)
    like = task.init(0)
    layout = Layout.of(like)
    evaluate = population_evaluator(task.problem, layout, like)
    settings = EvolutionConfig(population_size=16, generations=5, batch_size=2, std_init=1.0)
    engine = Engine(Evolution(settings, layout.size, evaluate), task.problem.arrays("train"), episodes=True)
    level = engine.level([0, 1], 0, np.ones((2, layout.size), bool))
    carry = engine.run(engine.start(level, np.stack([layout.flatten(like)] * 2)), level, 0, 5)
    broken = np.asarray(carry.record["num_nan"])
    assert (broken > 0).any()
    assert (broken < 16).any()
    assert np.isfinite(engine.trainer.solution(carry.state)).all()
    assert np.isfinite(carry.record["loss"]).all()


def test_a_ticket_names_its_task_and_evaluates_again_to_the_bit(run: Run) -> None:
    for entry in (run.checkpoints()[0], run.checkpoints()[-1]):
        checkpoint = entry.load()
        info = checkpoint.info or {}
        assert info["task"]["name"] == "pendulum"
        assert info["task"]["options"] == {**OPTIONS, "mass": 1.0, "length": 1.0, "gravity": 10.0}
        problem = problem_of(checkpoint)
        for split in ("train", "validation", "test"):
            assert problem.evaluate(checkpoint.params, split) == info["metrics"][split]
        values = problem.per_example(checkpoint.params, "test")["return"]
        error = info["standard_errors"]["test"]["return"]
        assert error == pytest.approx(np.std(values, ddof=1) / np.sqrt(12))


def test_best_is_chosen_by_validation_episodes(run: Run) -> None:
    for entry in run.checkpoints(method="es-snr"):
        checkpoint = entry.load()
        assert checkpoint.history is not None
        curve = np.asarray(checkpoint.history["validation_return"])
        best = (checkpoint.info or {})["best"]
        assert best["step"] == checkpoint.history["evaluation_step"][curve.argmax()]
        assert best["metrics"]["validation"]["return"] == curve.max()


def test_a_ticket_knows_what_the_best_constant_policy_gets(run: Run) -> None:
    entry = run.checkpoints()[0]
    found, problem = entry.info["constant_policy"], problem_of(entry.load())
    policies = constant_policies("pendulum", entry.load().params)
    assert len(policies) == 3
    scores = [problem.evaluate(policy, "validation")["return"] for policy in policies]
    best = policies[int(np.argmax(scores))]
    assert found == {split: problem.evaluate(best, split)["return"] for split in problem.splits}


@pytest.mark.parametrize(("name", "actions"), [("cartpole", [0, 1]), ("swimmer", [[-1, -1], [-1, 0]])])
def test_constant_policies_do_the_same_whatever_they_see(name: str, actions: list[Any]) -> None:
    task = load_task(name, {"kind": "policy", "widths": [3]}, **OPTIONS)
    observations = jax.random.normal(jax.random.key(0), (5, *task.environment.observation_shape))
    policies = constant_policies(name, task.init(0))
    assert len(policies) == (2 if name == "cartpole" else 9)
    for params, action in zip(policies, actions, strict=False):
        found = task.environment.actions.of(task.policy(params, observations))
        np.testing.assert_allclose(found, np.broadcast_to(action, found.shape), atol=1e-6)


def test_scores_of_few_runs_have_the_interval_of_their_episodes(run: Run) -> None:
    assert run.headline == ("test", "return")
    mean, interval = run.score("es-snr", 1) or (0.0, None)
    assert interval is not None
    errors = [run.infos["es-snr", seed, 1]["standard_errors"]["test"]["return"] for seed in (0, 1)]
    half = 1.959964 * np.sqrt(np.mean(np.square(errors)))
    np.testing.assert_allclose(interval, [mean - half, mean + half], rtol=1e-5)


@pytest.mark.faults
def test_a_stopped_run_goes_on_to_the_bitwise_same_result(run: Run, tmp_path: Path) -> None:
    """Fault 23."""
    folder, stops = tmp_path / "stopped", 0
    while len(list(folder.rglob("level-01.h5"))) < 6:
        with contextlib.suppress(InterruptedRunError):
            train_tickets(tiny(), folder, resume=stops > 0, should_stop=StopAfter(2 + 2 * stops))
        stops += 1
    assert stops > 1
    assert_same_run(run.path, folder)


def test_no_level_after_the_first_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[Engine] = []
    made = Engine.__init__

    def noted(self: Engine, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        engines.append(self)

    monkeypatch.setattr(Engine, "__init__", noted)
    train_tickets(tiny(pruning={"levels": 4, "ratio": 0.5}, methods=["es-snr"], method={}), tmp_path / "run")
    assert [engine.num_compilations for engine in engines] == [1]


@pytest.mark.faults
def test_gradient_descent_and_scores_of_gradients_are_refused(tmp_path: Path) -> None:
    """Fault 31."""
    method = {"by-snip": {"algorithm": "es", "score": "snip"}}
    config = tiny(methods=["es-snr", "gd-magnitude", "by-snip"], method=method)
    with pytest.raises(ConfigurationError) as refused:
        train_tickets(config, tmp_path / "run")
    assert "gd-magnitude" in str(refused.value)
    assert "snip" in str(refused.value)
    assert "no gradient" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_tickets_move_to_a_pendulum_of_another_mass(run: Run, tmp_path: Path) -> None:
    config = transfer_config([run.path], ["es"], overrides={"task_options": {"mass": 2.0}})
    assert config.task_options == {**OPTIONS, "mass": 2.0}
    moved = train_tickets(config, tmp_path / "moved")
    cells = transfer_table(moved)
    assert {cell.tickets for cell in cells} == {"own", "random", "es-snr"}
    assert all(cell.interval is not None for cell in cells)
    taken = moved.checkpoints(method="es-from-es-snr", seed=1, level=1)[0].load()
    origin = run.checkpoints(method="es-snr", seed=1, level=1)[0].load()
    for path, leaf in arrays(origin.mask).items():
        np.testing.assert_array_equal(arrays(taken.mask)[path], leaf)
    assert (taken.info or {})["task"]["options"]["mass"] == 2.0


def test_a_barrier_in_return_is_that_of_the_loss(run: Run) -> None:
    a, b = (entry.load() for entry in run.checkpoints(method="es-snr", level=1))
    found = loss_barrier(None, a, b, num_points=5, num_resamples=50, refine=False)
    np.testing.assert_array_equal(found.losses["test"]["return"], -np.asarray(found.losses["test"]["loss"]))
    direct = problem_of(a).evaluate(a.params, "test")["return"]
    assert found.losses["test"]["return"][0] == pytest.approx(direct, rel=1e-6)


def test_the_page_of_a_run_speaks_of_returns(run: Run, tmp_path: Path) -> None:
    page = write_run_page(run, tmp_path / "page.html", plotlyjs="cdn")[0].read_text(encoding="utf-8")
    assert "test return" in page.lower()
    assert "accurac" not in page.lower()
    assert "12 episodes" in page
    assert "the best constant policy" in page
    assert list((tmp_path / "page-data").glob("*return*.csv"))
    card = page.split('<dd class="value">')[1].split("</dd>")[0]
    assert "%" not in card
    assert float(card.split(" [")[0]) == pytest.approx(run.score("es-snr", 1)[0], rel=1e-3)  # type: ignore[index]


def test_commands_take_tickets_of_control_tasks(run: Run, tmp_path: Path, capsys: Any) -> None:
    a, b = (str(entry.path) for entry in run.checkpoints(method="es-snr", level=1))
    assert (
        command_line(["barrier", a, b, "--points", "3", "--json", "-o", str(tmp_path / "barrier.html")]) == 0
    )
    assert "return" in json.loads(capsys.readouterr().out)["data"]["losses"]["test"]
    assert command_line(["flatness", a, "--json", "-o", str(tmp_path / "flat.html")]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"
    assert command_line(["runs", str(run.path), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["data"]["runs"]
    assert listed["metric"] == "test return"


@pytest.mark.faults
def test_without_gymnax_every_command_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Fault 32; what needs no environment works."""
    for module in [name for name in sys.modules if name.split(".")[0] == "gymnax"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "gymnax", None)
    a, b = (str(entry.path) for entry in run.checkpoints(method="es-snr", level=1))
    output = ["-o", str(tmp_path / "new")]
    for command in (
        ["train", str(run.path / "run.toml"), *output],
        ["train", "--resume", "-o", str(run.path)],
        ["transfer", str(run.path), "--to", "es", *output],
        ["barrier", a, b],
        ["flatness", a],
    ):
        assert command_line(command) == 3, command
        shown = capsys.readouterr().err
        assert 'pip install "ticketscape[control]"' in shown
        assert not (tmp_path / "new").exists()
    for command in (["runs", str(run.path)], ["info", a]):
        assert command_line(command) == 0
    assert load(a).params is not None
