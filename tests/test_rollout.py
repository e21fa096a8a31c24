"""Rollouts: returns are the task's, states those of a loop by hand, and what has ended is not drawn."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from browser import open_page
from rollout_samples import a_rollout

from cli.main import run as command_line
from landscape import Checkpoint, Problem, load_result, save
from landscape.errors import ConfigurationError, InputError, MissingDependencyError
from landscape.plots import page_of
from landscape.plots.points import points_of
from landscape.plots.rollouts.animation import MOST_FRAMES, animation_figure
from landscape.plots.rollouts.scene import frame_steps, scene_of
from landscape.results import probe_interval
from landscape.rollouts import Rollout
from trainers import play_episodes
from trainers.rollouts.drawing import CHANNELS, cells_of, drawing_of
from trainers.rollouts.players import players_of
from trainers.tasks import ControlTask, episode_key, load_task, reset_key, step_key

NETWORK = {"kind": "policy", "widths": [2]}
OPTIONS = {"train_episodes": 2, "validation_episodes": 2, "test_episodes": 12, "episode_length": 30}


@pytest.fixture(scope="module")
def task() -> ControlTask:
    pytest.importorskip("gymnax")
    return load_task("cartpole", NETWORK, **OPTIONS)


def policy(*, right: bool) -> dict[str, Any]:
    """Push right always, or in the direction in which the pole falls, which keeps it up."""
    kernel = np.zeros((4, 2), np.float32)
    kernel[2:, 0] = [1.0, 1.0]
    out = np.array([[-1.0, 1.0], [0.0, 0.0]], np.float32)
    bias = np.array([-9.0, 9.0] if right else [0.0, 0.0], np.float32)
    return {
        "Dense_0": {"kernel": kernel, "bias": np.zeros(2, np.float32)},
        "Dense_1": {"kernel": out, "bias": bias},
    }


def ticket(params: Any, task: ControlTask, **options: Any) -> Checkpoint:
    described = dict(task.problem.task or {})
    network = described.pop("network")
    described["options"] = {**described["options"], **options}
    return Checkpoint(params=params, info={"task": described, "network": network})


@pytest.fixture(scope="module")
def both(task: ControlTask) -> Rollout:
    """One policy whose pole falls, and one that keeps it up, on the same seeds."""
    falls, holds = (ticket(policy(right=right), task) for right in (True, False))
    return play_episodes(falls, holds, names=["falls", "holds"], shown=1)


def by_hand(task: ControlTask, seed: int, action: int) -> tuple[list[Any], list[float]]:
    """Play an episode in which the action is always the same, in a Python loop."""
    environment, key = task.environment, episode_key(seed)
    state, _ = jax.jit(environment.reset)(reset_key(key))
    states, rewards, step = [state], [], jax.jit(environment.step)
    for t in range(environment.length):
        state, _, reward, terminated = step(step_key(key, t), state, np.int32(action))
        states.append(state)
        rewards.append(float(reward))
        if terminated:
            break
    return states, rewards


def test_returns_are_bit_identical_to_the_evaluation_of_the_task(task: ControlTask, both: Rollout) -> None:
    for place, right in enumerate((True, False)):
        expected = task.problem.per_example(policy(right=right), "test")["return"]
        np.testing.assert_array_equal(both.returns[place], expected)
    np.testing.assert_array_equal(both.seeds, task.problem.head(12, "test"))
    np.testing.assert_array_equal(both.lengths, both.returns)  # CartPole's reward is 1 per step
    np.testing.assert_allclose(both.means, both.returns.mean(axis=1))
    for values, ends in zip(both.returns, both.intervals, strict=True):
        np.testing.assert_allclose(ends, probe_interval(values))


def test_states_of_a_constant_policy_are_those_of_a_loop_by_hand(task: ControlTask, both: Rollout) -> None:
    states, rewards = by_hand(task, int(both.seeds[1]), action=1)
    shown = both.episodes[0]
    assert set(shown["states"]) == {"x", "x_dot", "theta", "theta_dot"}
    for name, values in shown["states"].items():
        expected = [float(getattr(state, name)) for state in states]
        np.testing.assert_allclose(values[:, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(shown["rewards"], rewards)
    np.testing.assert_array_equal(shown["actions"], np.ones((len(rewards), 1)))
    np.testing.assert_array_equal(
        shown["observations"], np.concatenate(list(shown["states"].values()), axis=1)
    )
    assert float(sum(rewards)) == both.returns[0, 1]


def test_two_policies_start_from_one_state_and_their_difference_is_paired(both: Rollout) -> None:
    first, second = both.episodes
    for name in first["states"]:
        np.testing.assert_array_equal(first["states"][name][0], second["states"][name][0])
    pairs = (both.returns[1] - both.returns[0]).astype(float)
    assert both.difference == pairs.mean() > 0
    np.testing.assert_allclose(both.interval_difference, probe_interval(pairs))


def test_policies_share_a_task_if_and_only_if_their_networks_are_equal(task: ControlTask) -> None:
    wider = load_task("cartpole", {"kind": "policy", "widths": [3]}, **OPTIONS)
    one, other = (ticket(policy(right=right), task) for right in (True, False))
    first, second, third = players_of([one, other, ticket(wider.init(0), wider)], None, None)
    assert second.task is first.task
    assert third.task is not first.task
    assert third.task.network == {"kind": "policy", "widths": [3]}


def test_an_episode_that_ended_is_not_drawn_while_the_other_goes_on(both: Rollout) -> None:
    length = int(both.lengths[0, 1])
    assert both.ended_early[0, 1]
    assert not both.ended_early[1, 1]
    assert length < both.lengths[1, 1] == 30
    assert len(both.episodes[0]["rewards"]) == length
    assert all(len(part["points"]) == length + 1 for part in both.episodes[0]["moving"])
    falls, holds = scene_of(both)
    assert all(trace["x"] for trace in falls.moving(length))
    assert not any(trace["x"] for trace in falls.moving(length + 1))
    assert all(trace["x"] for trace in holds.moving(length + 1))
    figure = animation_figure(both)
    assert figure is not None
    last, parts = figure.frames[-1].data, len(both.episodes[0]["moving"])
    assert [bool(trace.x) for trace in last] == [False] * parts + [True] * parts


def test_a_rollout_is_deterministic_and_an_episode_does_not_depend_on_their_number(
    task: ControlTask, both: Rollout
) -> None:
    given = [ticket(policy(right=right), task) for right in (True, False)]
    again = play_episodes(*given, names=["falls", "holds"], shown=1)
    assert dataclasses.replace(again, stats={}) == dataclasses.replace(both, stats={})
    few = play_episodes(policy(right=True), problem=task, episodes=3)
    np.testing.assert_array_equal(few.returns[0], both.returns[0, :3])
    assert few.shown == np.argsort(few.returns[0], kind="stable")[1]  # the median of three
    assert few.names == ("policy 1",)
    assert few.difference is None
    assert np.isnan(few.intervals).all()
    assert any("3 episodes are too few" in text for text in few.warnings)
    # the problem of the task, of which nothing but the description is read
    from_problem = play_episodes(policy(right=True), problem=task.problem, episodes=3)
    np.testing.assert_array_equal(from_problem.returns, few.returns)


def test_episodes_that_are_not_finite_are_counted_and_make_no_mean(task: ControlTask) -> None:
    params = policy(right=True)
    params["Dense_1"]["bias"] = np.full(2, np.nan, np.float32)
    found = play_episodes(params, problem=task, episodes=12)
    assert found.status == "non-finite"
    assert np.isnan(found.means).all()
    assert "12 of 12 episodes are not finite" in found.warnings[0]
    assert len(found.episodes[0]["rewards"]) == 1
    str(found)
    page_of(found).html(plotlyjs="cdn")


@pytest.mark.parametrize("images", [False, True])
def test_a_stored_rollout_is_the_one_that_was_saved(images: bool, tmp_path: Path) -> None:
    result = a_rollout(images=images)
    found = load_result(result.save(tmp_path / "rollout.h5"))
    assert found == result
    assert str(found) == str(result)
    assert json.loads(result.to_json())["schema"] == "landscape.rollout/1"
    rows = points_of(found)
    returns = [row["value"] for row in rows if row["quantity"] == "return" and row["name"] == "policy 1"]
    assert returns == result.returns[1].tolist()
    assert sum(row["quantity"] == "reward" for row in rows) == 3 + 6


def test_long_episodes_are_thinned_evenly_with_their_ends() -> None:
    assert frame_steps(10, 250) == list(range(10))
    steps = frame_steps(5001, MOST_FRAMES)
    assert len(steps) == MOST_FRAMES
    assert (steps[0], steps[-1]) == (0, 5000)
    assert set(np.diff(steps)) <= {20, 21}
    assert frame_steps(0, 5) == []
    figure = animation_figure(a_rollout(lengths=(400,)))
    assert figure is not None
    assert f"{MOST_FRAMES} of 401 states are frames" in figure.layout.meta["caption"]


def test_cells_show_the_first_channel_and_colours_are_named() -> None:
    images = np.zeros((1, 2, 2, 3))
    images[0, 0, 0] = [0, 1, 1]
    images[0, 1, 1] = [1, 1, 0]
    np.testing.assert_array_equal(cells_of(images), [[[2, 0], [0, 1]]])
    scene = scene_of(a_rollout(images=True))[0]
    assert [trace["name"] for trace in scene.key()] == ["ball"]
    assert np.array(scene.moving(4)[0]["z"]).sum() == 0  # over
    assert set(CHANNELS) == {"asterix", "breakout", "freeway", "seaquest", "space_invaders"}


def test_a_frame_is_the_view_and_what_leaves_it_is_said() -> None:
    result = a_rollout(lengths=(3,))
    assert not scene_of(result)[0].is_left
    (episode,) = result.episodes
    frame = {"name": "view", "form": "frame", "points": np.array([[0.0, 0.0], [0.5, 0.5]])}
    framed = dataclasses.replace(result, episodes=({**episode, "still": [*episode["still"], frame]},))
    (scene,) = scene_of(framed)
    assert scene.x == pytest.approx((-0.03, 0.53))
    assert len(scene.still()) == len(episode["still"])
    assert scene.is_left
    figure = animation_figure(framed)
    assert figure is not None
    assert "What leaves the picture" in figure.layout.meta["caption"]


def tip_of(task: str, physics: Any = None, **states: Any) -> Any:
    """Return the last point of the first moving part at the first state."""
    given = {name: np.atleast_2d(np.asarray(value, float)) for name, value in states.items()}
    return drawing_of(task, given, physics or {})[0][0]["points"][0, -1]


def test_drawings_are_those_of_the_dynamics() -> None:
    np.testing.assert_allclose(tip_of("pendulum", {"length": 0.5}, theta=0), [0, 0.5], atol=1e-12)
    np.testing.assert_allclose(tip_of("pendulum", theta=np.pi / 2), [-1, 0], atol=1e-12)
    np.testing.assert_allclose(tip_of("acrobot", joint_angle1=0, joint_angle2=0), [0, -2])
    # the tip of an acrobot is at −cos θ₁ − cos(θ₁ + θ₂), the height that ends the episode above 1
    assert tip_of("acrobot", joint_angle1=2.0, joint_angle2=0.7)[1] == -np.cos(2.0) - np.cos(2.7)
    found = tip_of("reacher", angles=[0.3, 1.1], goal_xy=[0, 0])
    np.testing.assert_allclose(found, [np.cos([0.3, 1.1]).sum(), np.sin([0.3, 1.1]).sum()])
    pole = drawing_of("cartpole", {"x": np.ones((1, 1)), "theta": np.full((1, 1), 0.2)}, {"half_length": 2})
    (start, end) = pole[0][1]["points"][0]
    np.testing.assert_allclose(end - start, [4 * np.sin(0.2), 4 * np.cos(0.2)])
    np.testing.assert_allclose(tip_of("mountain_car_continuous", position=np.pi / 6), [np.pi / 6, 1.0])
    swimmer = {"xy": np.ones((1, 2)), "goal_xy": np.zeros((1, 2)), "urchin_xys": np.arange(10.0)[None]}
    assert drawing_of("swimmer", swimmer, {})[1][2]["points"].shape == (5, 2)
    assert drawing_of("swimmer", swimmer, {})[1][1]["form"] == "goal"
    assert drawing_of("another", {}, {}) == ([], [])


PLAY = """
var plot = document.getElementById("plot-episode");
var before = JSON.stringify(plot.data.map(function (trace) { return trace.x || trace.z; }));
Plotly.animate(plot, ["6"], { mode: "immediate", frame: { duration: 0, redraw: true } });
await new Promise(function (done) { setTimeout(done, 500); });
return {
  moved: before !== JSON.stringify(plot.data.map(function (trace) { return trace.x || trace.z; })),
  frames: plot._transitionData._frames.length,
  buttons: plot.querySelectorAll(".updatemenu-button").length,
  sliders: plot.querySelectorAll(".slider-container").length
};
"""


@pytest.mark.parametrize(("images", "width"), [(False, 1280), (True, 390)])
def test_the_page_draws_and_its_animation_moves(images: bool, width: int, tmp_path: Path) -> None:
    page, *_ = page_of(a_rollout(images=images)).write(tmp_path / "page.html")
    assert page.stat().st_size < 8e6
    seen = open_page(page, tmp_path, width=width, script=PLAY)
    assert seen.errors == []
    assert seen.drawn == seen.plots == 3
    assert seen.content_width <= seen.width
    assert seen.answer == {"moved": True, "frames": 7, "buttons": 2, "sliders": 1}


def test_the_command_writes_what_the_function_returns(
    task: ControlTask, both: Rollout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "falls.h5", tmp_path / "holds.h5"]
    for path, right in zip(files, (True, False), strict=True):
        save(path, ticket(policy(right=right), task))
    out = tmp_path / "out.h5"
    words = ["rollout", *map(str, files), "--episode", "1"]
    assert command_line([*words, "-o", str(out), "-o", str(tmp_path / "out.csv"), "--json"]) == 0
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["schema"] == "landscape.rollout/1"
    assert envelope["data"]["returns"] == both.returns.tolist()
    stored = load_result(out)
    assert isinstance(stored, Rollout)
    np.testing.assert_array_equal(stored.episodes[1]["observations"], both.episodes[1]["observations"])
    assert stored.names == ("falls.h5", "holds.h5")
    assert command_line(["rollout", "--config", str(out), "--dry-run"]) == 0
    assert "the episode that is shown" in capsys.readouterr().out
    assert command_line([*words, str(files[0])]) == 2
    assert "one or two checkpoints" in capsys.readouterr().err
    assert command_line([*words, "--episodes", "13"]) == 2
    assert "at most 12" in capsys.readouterr().err
    assert command_line([*words, "--episodes", "1"]) == 2
    assert "a position from 0 to 0" in capsys.readouterr().err


@pytest.mark.faults
def test_what_has_no_episodes_is_refused_by_name(task: ControlTask) -> None:
    """Fault 31: and no data are read for it."""
    digits = Checkpoint(params=policy(right=True), info={"task": {"name": "mnist", "options": {}}})
    with pytest.raises(InputError, match=r"policy 1: its task has no episodes.*\n?.*control task"):
        play_episodes(digits)
    nameless = Checkpoint(params=policy(right=True), info={})
    with pytest.raises(InputError, match="names no task"):
        play_episodes(nameless)
    with pytest.raises(InputError, match="name no task"):
        play_episodes(policy(right=True))
    other = Problem(lambda _, batch: batch, train=np.zeros(3, np.float32))
    with pytest.raises(InputError, match="problem: its task has no episodes"):
        play_episodes(policy(right=True), problem=other)
    given = ticket(policy(right=True), task), ticket(policy(right=True), task, pole_mass=0.2)
    with pytest.raises(ConfigurationError, match="name different tasks"):
        play_episodes(*given)
    play_episodes(*given, problem=task, episodes=2)  # unless it is said what both play


@pytest.mark.faults
def test_without_the_extra_it_is_named(task: ControlTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 32."""
    for module in [name for name in sys.modules if name.split(".")[0] == "gymnax"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "gymnax", None)
    with pytest.raises(MissingDependencyError, match="control") as refused:
        play_episodes(ticket(policy(right=True), task))
    assert refused.value.exit_code == 3
