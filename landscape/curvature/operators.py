"""Curvature matrices as operators: exact products over a data set, without forming the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.curvature import products
from landscape.curvature.loss_operator import CurvatureOperator
from landscape.curvature.products import programs_of
from landscape.errors import ConfigurationError, ProblemError
from landscape.network import Subject, make_subject
from landscape.problem import Problem, checked_outputs, example_numbers, problem_for, require_gradient
from landscape.results import check_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CurvatureOperator", "fisher", "gauss_newton", "hessian"]

_DTYPES = ("float32", "float64")


def hessian(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    params: Any,
    *,
    mask: Any = None,
    where: str | Iterable[str] | None = None,
    split: str = "train",
    subset: int | Sequence[int] | np.ndarray | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    allow_nonfinite: bool = False,
) -> CurvatureOperator:
    r"""Return the Hessian of the mean loss as an operator.

    :math:`H = \frac1N \sum_i \nabla^2 \ell(\theta, x_i)` over all examples of the split, restricted to
    the free coordinates. A product is the derivative of the gradient along the vector [1]_. Of weighted
    examples, here and in the other matrices, the mean is weighted: :math:`\sum_i w_i \cdot / \sum_i w_i`.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the checkpoint names.
    params : Checkpoint, path of one, or pytree
        The network; with batch statistics a bare tree is the pair ``(params, batch_stats)``, of which
        the statistics are held fixed as stored.
    mask : pytree of bool, or False, optional
        Free entries: the operator is the submatrix of a ticket's own subspace. By default the mask
        of the checkpoint; False measures the dense network.
    where : str or iterable of str, optional
        Patterns of tree paths (``"Dense_0/*"``) of the layers to keep; the others are constants.
    split : str
        Which data.
    subset : int or sequence of int, optional
        How many examples, from the first on, or the numbers of those to use; all by default.
    batch_size : int, optional
        Examples per batch; by default as many as keep a batch within 256 MiB (in `stats`). No product
        depends on it but for rounding.
    dtype : {"float32", "float64"}, optional
        Precision of the products, float32 by default; local to the operator.
    allow_nonfinite : bool
        Whether NaN and infinite weights are let through.

    Returns
    -------
    CurvatureOperator
        With ``matvec``, ``matmat``, ``dense``, ``to_scipy``, ``symmetry_error`` and ``stats``.

    Raises
    ------
    ProblemError
        If the loss has no derivatives or cannot be differentiated twice, is random, or mixes examples.
    NonFiniteError, MaskError, ConfigurationError, InputError
        If weights are not finite, nothing is free, a pattern matches nothing, there are no floats.
    DeviceMemoryError
        If a batch does not fit the device.

    Notes
    -----
    A product costs between one and two gradients. Where a kink makes second derivatives ambiguous (a
    rectifier at exactly 0) they are those that automatic differentiation defines.

    References
    ----------
    .. [1] Pearlmutter, 1994. Fast exact multiplication by the Hessian. Neural Computation 6(1).

    Examples
    --------
    >>> import numpy as np
    >>> from landscape import Problem, hessian
    >>> def loss(params, batch):
    ...     return 0.5 * (batch @ params["w"]) ** 2
    >>> operator = hessian(Problem(loss, train=np.eye(2, dtype=np.float32)), {"w": np.ones(2, np.float32)})
    >>> operator.dense()
    array([[0.5, 0. ],
           [0. , 0.5]], dtype=float32)
    """
    options = {"split": split, "subset": subset, "batch_size": batch_size, "dtype": dtype}
    problem = problem_for(problem, params)
    require_gradient(problem, "hessian")
    subject = make_subject(problem, params, mask=mask, where=where, allow_nonfinite=allow_nonfinite)
    return _operator(problem, subject, "hessian", lambda: products.Hessian(problem.loss), **options)


def gauss_newton(  # noqa: PLR0913
    problem: Problem | None,
    params: Any,
    *,
    mask: Any = None,
    where: str | Iterable[str] | None = None,
    split: str = "train",
    subset: int | Sequence[int] | np.ndarray | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    allow_nonfinite: bool = False,
) -> CurvatureOperator:
    r"""Return the generalised Gauss-Newton matrix of the mean loss as an operator.

    :math:`G = \frac1N \sum_i J_i^\top \nabla_z^2 \ell(z_i)\, J_i` with :math:`z_i` the model's outputs
    and :math:`J_i` their derivative [1]_. It is the Hessian without the curvature of the model itself,
    and positive semi-definite where the loss is convex in the outputs.

    Parameters are those of `hessian`. The problem must say where its outputs are:
    ``Problem(outputs=Outputs(model, loss))``; the built-in tasks do.

    Raises
    ------
    ProblemError
        Also if the problem has no `outputs`, or they do not compose to its loss.

    References
    ----------
    .. [1] Schraudolph, 2002. Fast curvature matrix-vector products for second-order gradient descent.
       Neural Computation 14(7).
    """
    options = {"split": split, "subset": subset, "batch_size": batch_size, "dtype": dtype}
    problem = problem_for(problem, params)
    require_gradient(problem, "gauss_newton")
    subject = make_subject(problem, params, mask=mask, where=where, allow_nonfinite=allow_nonfinite)
    outputs = checked_outputs(problem, subject.point)
    return _operator(problem, subject, "gauss_newton", lambda: products.GaussNewton(outputs), **options)


def fisher(  # noqa: PLR0913
    problem: Problem | None,
    params: Any,
    *,
    labels: str = "data",
    mask: Any = None,
    where: str | Iterable[str] | None = None,
    split: str = "train",
    subset: int | Sequence[int] | np.ndarray | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    allow_nonfinite: bool = False,
) -> CurvatureOperator:
    r"""Return a Fisher matrix of the mean loss as an operator.

    With ``labels="data"`` the empirical one, :math:`\frac1N \sum_i g_i g_i^\top` with :math:`g_i` the
    gradient of example i under its own label, for any problem. With ``labels="model"`` the Fisher
    information :math:`\frac1N \sum_i E_{y \sim p(y|x_i)}[g g^\top]`, the expectation over the model's
    own labels in closed form; the two are different matrices [1]_.

    Parameters are those of `hessian`, and

    Parameters
    ----------
    labels : {"data", "model"}
        Whose labels. ``"model"`` needs ``Problem(outputs=Outputs(..., likelihood=...))``.

    Raises
    ------
    ProblemError
        Also if ``labels="model"`` and the problem names no likelihood.

    References
    ----------
    .. [1] Kunstner, Balles and Hennig, 2019. Limitations of the empirical Fisher approximation for
       natural gradient descent. arXiv:1905.12558.
    """
    if labels not in ("data", "model"):
        raise ConfigurationError("labels: not a possible value", expected="data or model", got=repr(labels))
    options = {"split": split, "subset": subset, "batch_size": batch_size, "dtype": dtype}
    problem = problem_for(problem, params)
    require_gradient(problem, "fisher")
    subject = make_subject(problem, params, mask=mask, where=where, allow_nonfinite=allow_nonfinite)
    if labels == "data":
        kind = "empirical_fisher"
        return _operator(problem, subject, kind, lambda: products.EmpiricalFisher(problem.loss), **options)
    outputs = checked_outputs(problem, subject.point)
    if outputs.likelihood is None:
        raise ProblemError(
            "fisher: the problem names no distribution of labels",
            expected="Outputs(model, loss, likelihood='categorical' or 'gaussian')",
            hint="Name it, or take the empirical matrix with labels='data'.",
        )
    return _operator(problem, subject, "model_fisher", lambda: products.ModelFisher(outputs), **options)


def _operator(
    problem: Problem, subject: Subject, kind: str, make: Callable[[], products.Kind], **options: Any
) -> CurvatureOperator:
    check_choice("dtype", options["dtype"], (None, *_DTYPES))
    problem.num_examples(options["split"])  # refuses a split that the problem does not have
    options["subset"] = example_numbers(options["subset"])
    return CurvatureOperator(problem, subject, programs_of(problem, kind, make), kind, **options)
