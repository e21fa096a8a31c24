r"""What proximal policy optimisation makes of a rollout: advantages, and the loss that is clipped.

1. Temporal differences $\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)$. At a termination there is no
   $s_{t+1}$, and $V(s_{t+1}) = 0$. At a time limit there is: the state that the episode would have gone on
   from, whose value is bootstrapped although the environment begins another episode.
2. Generalised advantages $A_t = \delta_t + \gamma\lambda A_{t+1}$, where $A_{t+1} = 0$ if an episode ends
   with step t, for whichever reason, and after the last step of a rollout.
3. Targets of the critic $A_t + V(s_t)$.
4. The clipped loss $-\mathrm{mean}\min(\rho_t A_t, \mathrm{clip}(\rho_t, 1-\epsilon, 1+\epsilon) A_t)$ with
   $\rho_t$ the probability of the action now, divided by that when it was taken.

References
----------
Schulman et al. 2016, generalised advantage estimation, arXiv 1506.02438, equation 16.
Schulman et al. 2017, proximal policy optimisation, arXiv 1707.06347, equation 7.
Pardo et al. 2018, time limits in reinforcement learning, arXiv 1712.00378: bootstrapping at a time limit.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["clipped_loss", "generalised_advantages", "normalised", "weighted_mean"]

# exp(20) is beyond every clip; without a bound a ratio can be infinite, and its gradient NaN.
_LARGEST_LOG_RATIO = 20.0
_LEAST_STD = 1e-8  # of advantages that are all equal


def generalised_advantages(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    *,
    terminated: jax.Array,
    ended: jax.Array,
    discount: float,
    trace_decay: float,
) -> jax.Array:
    """Return the advantages [T, …] of a rollout (steps 1 and 2).

    Parameters
    ----------
    rewards : float array [T, …]
        Of every step.
    values, next_values : float array [T, …]
        The critic's values of the observation before a step, and of the one after it in the same episode.
    terminated : bool array [T, …]
        Whether the task was over with the step.
    ended : bool array [T, …]
        Whether the episode ended with the step: terminated, or cut off by a time limit.
    discount, trace_decay : float
        γ and λ.
    """
    beyond = jnp.where(terminated, 0.0, next_values)
    differences = rewards + discount * beyond - values

    def earlier(later: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        difference, ended = step
        advantage = difference + discount * trace_decay * jnp.where(ended, 0.0, later)
        return advantage, advantage

    last = jnp.zeros_like(differences[0])
    _, found = jax.lax.scan(earlier, last, (differences, ended), reverse=True)
    return found


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the mean of values [B] with weights [B] of 0 and 1; 0 where all are 0."""
    total: jax.Array = jnp.sum(weights * values) / jnp.maximum(jnp.sum(weights), 1.0)
    return total


def normalised(advantages: jax.Array, weights: jax.Array) -> jax.Array:
    """Return advantages [B] of mean 0 and standard deviation 1, over those of weight 1."""
    centred = advantages - weighted_mean(advantages, weights)
    return centred / jnp.sqrt(weighted_mean(centred**2, weights) + _LEAST_STD)


def clipped_loss(
    log_probs: jax.Array, former: jax.Array, advantages: jax.Array, *, weights: jax.Array, clip: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the clipped loss (step 4), the fraction of actions that are clipped, and the divergence.

    Parameters
    ----------
    log_probs, former : float array [B]
        Logarithms of the probability (or density) of the actions now, and when they were taken.
    advantages : float array [B]
        Of the actions.
    weights : float array [B]
        1 for steps that count, 0 for others.
    clip : float
        ε.

    Returns
    -------
    tuple of scalars
        The third is an estimate of the Kullback-Leibler divergence of the policy now from the former one,
        mean(ρ − 1 − log ρ), which is never negative.
    """
    log_ratios = jnp.minimum(log_probs - former, _LARGEST_LOG_RATIO)
    ratios = jnp.exp(log_ratios)
    gains = jnp.minimum(ratios * advantages, jnp.clip(ratios, 1.0 - clip, 1.0 + clip) * advantages)
    clipped = (jnp.abs(ratios - 1.0) > clip).astype(jnp.float32)
    divergence = weighted_mean(ratios - 1.0 - log_ratios, weights)
    return -weighted_mean(gains, weights), weighted_mean(clipped, weights), divergence
