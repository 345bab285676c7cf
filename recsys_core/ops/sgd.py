"""What the factorizations by gradient steps have in common: options, result and the call of the core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np

from recsys_core import _core
from recsys_core.errors import ConfigError, ShapeError
from recsys_core.ops import _validate
from recsys_core.ops._collapse import warn_of_collapse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from recsys_core.types import CSR, FloatArray

__all__ = ["SgdFactors", "SgdOptions"]


_MAX_ADAGRAD_REGULARIZATION = 1e15
_TRIPLE = ("user_factors", "item_factors", "item_bias")  # what an SgdFactors unpacks into


class SgdOptions(TypedDict, total=False):
    """Options of training that :func:`bpr`, :func:`warp` and :func:`logistic_mf` share; each may be left out.

    Attributes
    ----------
    learning_rate
        Step length, above 0; 0.05 if left out.
    regularization
        lambda, at least 0, applied to what a step touches, at each step; 0.001 if left out.  A warning says where it
        outweighs the data, so that the factors end next to zero.
    n_epochs
        Number of epochs, at least 1; 50 if left out.
    optimizer
        "adagrad" (if left out): the rate of a row, or of a bias, is the learning rate over the root of the sum of its
        squared gradients (of the loss and of the regularization), for a row their mean over the coordinates.  "sgd":
        the learning rate itself.
    schedule
        "linear" (if left out): the learning rate falls to 0 over the epochs.  "constant".
    popularity_power
        An item j is drawn in proportion to (its number of entries)^power; 0 (if left out) is uniform.  At least 0.
    reject_positives
        Whether an item j that u has an entry for is drawn again, at most 64 times; True if left out.  For a user with
        more than half of the items, j is drawn at once from those that are missing.
    user_features, item_features
        CSR (n_users, n_user_features) and (n_items, n_item_features), finite, or None.  A row's vector is its own and
        the sum of its features' vectors times the stored values; an item's bias likewise.  With `item_features`, an
        item without an entry has no vector of its own and is never drawn, so that it scores as a new item would.
    initial
        What to go on from: the result of a fit, or other ``(user_factors, item_factors, item_bias)`` of its shapes;
        None starts at random.  With features, only the result will do.  Adagrad's sums start anew.
    random_state
        Seed, in [0, 2**64); 0 if left out.  Vectors start uniform in ``0.1 * sqrt(3 / f) * (-1, 1)``, biases at 0.
    n_threads
        Number of threads; 0 (if left out) means :func:`max_threads`.
    deterministic
        Without features the result has the same bits for any number of threads, and this changes nothing.  With
        features, threads share their vectors without locks, and results differ in detail from run to run, unless this
        is True: then there is one thread.  False if left out.
    callback
        Called as ``callback(epoch, loss)`` after each epoch, counted from 0, with the mean loss over the entries, each
        taken just before its step; a true return value stops.  An exception it raises ends the call and arrives at the
        caller.
    validate
        Called as ``validate(factors)`` after each epoch with an :class:`SgdFactors` that the next epoch overwrites;
        returns a number, higher is better.  The result is then that of the best epoch instead of the last.  One that
        returns None each time only looks on.
    patience
        With `validate`: training stops after so many epochs in a row without a better number, at least 1; 5 if left
        out.
    """

    learning_rate: float
    regularization: float
    n_epochs: int
    optimizer: Literal["adagrad", "sgd"]
    schedule: Literal["linear", "constant"]
    popularity_power: float
    reject_positives: bool
    user_features: CSR | None
    item_features: CSR | None
    initial: SgdFactors | tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike] | None
    random_state: int
    n_threads: int
    deterministic: bool
    callback: Callable[[int, float], object] | None
    validate: Callable[[SgdFactors], float | None] | None
    patience: int


@dataclass(frozen=True, eq=False)
class SgdFactors:
    """What is learned.  Iterating yields the first three, so that ``user_factors, item_factors, item_bias = bpr(...)``.

    Attributes
    ----------
    user_factors
        X, float32, shape (n_users, n_factors), features included.
    item_factors
        Y, float32, shape (n_items, n_factors), features included.
    item_bias
        b, float32, shape (n_items,), features included.
    user_feature_factors
        Float32, shape (n_user_features, n_factors); None without user features.
    item_feature_factors
        Float32, shape (n_item_features, n_factors); None without item features.
    item_feature_bias
        Float32, shape (n_item_features,); None without item features.
    user_bias
        Float32, shape (n_users,), of :func:`explicit_mf`; None for the others, whose rankings it would not change.
    """

    user_factors: FloatArray
    item_factors: FloatArray
    item_bias: FloatArray
    user_feature_factors: FloatArray | None = None
    item_feature_factors: FloatArray | None = None
    item_feature_bias: FloatArray | None = None
    user_bias: FloatArray | None = None

    def __iter__(self) -> Iterator[FloatArray]:
        yield from (self.user_factors, self.item_factors, self.item_bias)

    def embed_users(self, features: CSR) -> FloatArray:
        """Return the factors of users that are known by their features alone.

        Parameters
        ----------
        features
            CSR (n, n_user_features), with the columns of training.

        Returns
        -------
        numpy.ndarray
            float32, shape (n, n_factors).

        Raises
        ------
        ConfigError
            Training had no user features.
        ShapeError
            The number of columns is another.
        """
        return _times(features, self.user_feature_factors, "user")

    def embed_items(self, features: CSR) -> tuple[FloatArray, FloatArray]:
        """Return the factors and biases of items that are known by their features alone.

        Parameters
        ----------
        features
            CSR (n, n_item_features), with the columns of training.

        Returns
        -------
        factors : numpy.ndarray
            float32, shape (n, n_factors).
        bias : numpy.ndarray
            float32, shape (n,).

        Raises
        ------
        ConfigError
            Training had no item features.
        ShapeError
            The number of columns is another.
        """
        factors = _times(features, self.item_feature_factors, "item")
        assert self.item_feature_bias is not None  # it comes with the factors
        bias = np.asarray(features @ self.item_feature_bias, dtype=np.float32)
        return factors, bias

    def _copy(self) -> SgdFactors:
        return SgdFactors(*(None if part is None else part.copy() for part in vars(self).values()))  # type: ignore[arg-type]


def _times(features: CSR, embeddings: FloatArray | None, what: str) -> FloatArray:
    if embeddings is None:
        raise ConfigError(f"features: training had no {what} features; pass {what}_features to it")
    _, _, n_columns = _validate.csr_pattern(features, "features")
    if n_columns != len(embeddings):
        raise ShapeError(f"features: expected {len(embeddings)} columns as in training, got {n_columns}")
    return np.ascontiguousarray(features @ embeddings, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options, each with what it is where it is left out."""

    learning_rate: float = 0.05
    regularization: float = 0.001
    n_epochs: int = 50
    optimizer: str = "adagrad"
    schedule: str = "linear"
    popularity_power: float = 0.0
    reject_positives: bool = True
    user_features: CSR | None = None
    item_features: CSR | None = None
    initial: SgdFactors | tuple[Any, Any, Any] | None = None
    random_state: int = 0
    n_threads: int = 0
    deterministic: bool = False
    callback: Callable[[int, float], object] | None = None
    validate: Callable[[SgdFactors], float | None] | None = None
    patience: int = 5

    @classmethod
    def of(cls, options: SgdOptions, function: str) -> Settings:
        """Fill in what `function` was not given."""
        unknown = options.keys() - SgdOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"{function}() got an unexpected keyword argument {min(unknown)!r}")
        return cls(**options)

    def of_steps(self, objective: str, n_negatives: int) -> dict[str, Any]:
        """Return the steps to take, checked, as the core and a device are told them alike."""
        _validate.one_of(self.optimizer, "optimizer", ("adagrad", "sgd"))
        _validate.one_of(self.schedule, "schedule", ("linear", "constant"))
        regularization = _validate.number(self.regularization, "regularization", minimum=0.0)
        if self.optimizer == "adagrad" and regularization > _MAX_ADAGRAD_REGULARIZATION:
            raise ConfigError(
                f"regularization must be at most {_MAX_ADAGRAD_REGULARIZATION:g} with adagrad, which sums its square "
                f"in float32, got {regularization:g}"
            )
        return {
            "objective": objective,
            "n_negatives": n_negatives,
            "adagrad": self.optimizer == "adagrad",
            "linear_decay": self.schedule == "linear",
            "learning_rate": _validate.positive(self.learning_rate, "learning_rate"),
            "regularization": regularization,
            "n_epochs": _validate.integer(self.n_epochs, "n_epochs", minimum=1),
            "popularity_power": _validate.number(self.popularity_power, "popularity_power", minimum=0.0),
            "reject_positives": bool(self.reject_positives),
            "random_state": _validate.random_seed(self.random_state),
        }

    def of_features(self) -> dict[str, _validate.CsrArrays | None]:
        """Return the features of both sides as arrays, by the names of the options."""
        given = {"user_features": self.user_features, "item_features": self.item_features}
        return {
            name: None if value is None else _validate.unique_csr_arrays(value, name) for name, value in given.items()
        }


def shapes_of(
    n_users: int, n_items: int, n_factors: int, features: dict[str, _validate.CsrArrays | None]
) -> dict[str, tuple[int, ...] | None]:
    """Return the shapes of an :class:`SgdFactors`, of a bias of users none."""
    of_users, of_items = (None if side is None else side[3] for side in features.values())
    return {
        "user_factors": (n_users, n_factors),
        "item_factors": (n_items, n_factors),
        "item_bias": (n_items,),
        "user_feature_factors": None if of_users is None else (of_users, n_factors),
        "item_feature_factors": None if of_items is None else (of_items, n_factors),
        "item_feature_bias": None if of_items is None else (of_items,),
        "user_bias": None,
    }


def train(
    interactions: CSR,
    n_factors: int,
    *,
    objective: Literal["bpr", "warp", "logistic", "squared"],
    n_negatives: int = 1,
    value_scale: float = 1.0,
    **options: Unpack[SgdOptions],
) -> SgdFactors:
    """Check the options, make or copy the arrays and train them in place."""
    name = {"logistic": "logistic_mf", "squared": "explicit_mf"}.get(objective, objective)
    settings = Settings.of(options, name)
    steps = settings.of_steps(objective, n_negatives)
    arrays = _validate.unique_csr_arrays(interactions, "interactions")
    if value_scale != 1.0:
        arrays = (*arrays[:2], arrays[2] * np.float32(value_scale), arrays[3])
    n_factors = _validate.integer(n_factors, "n_factors", minimum=1)
    sides = settings.of_features()
    n_users, n_items = len(arrays[0]) - 1, arrays[3]
    shapes = shapes_of(n_users, n_items, n_factors, sides)
    if objective == "squared":
        shapes["user_bias"] = (n_users,)
    initial, watch = settings.initial, Watch.of(settings)
    factors = _empty(shapes) if initial is None else _copied(initial, shapes)
    unused = np.empty((0, n_factors), dtype=np.float32)
    _core.sgd(
        arrays,
        factors.user_factors,
        factors.item_factors,
        unused[:, 0] if factors.user_bias is None else factors.user_bias,
        factors.item_bias,
        sides["user_features"],
        unused if factors.user_feature_factors is None else factors.user_feature_factors,
        sides["item_features"],
        unused if factors.item_feature_factors is None else factors.item_feature_factors,
        unused[:, 0] if factors.item_feature_bias is None else factors.item_feature_bias,
        steps=steps,
        n_threads=_validate.integer(settings.n_threads, "n_threads", minimum=0),
        deterministic=bool(settings.deterministic),
        warm_start=initial is not None,
        wants_factors=settings.validate is not None,
        callback=None if watch.is_idle else lambda epoch, loss: watch(epoch, loss, factors),
    )
    found = watch.best_or(factors)
    warn_of_collapse(name, found.item_factors, steps["regularization"], "lower it", stacklevel=3)
    return found


class Watch:
    """What looks at a training after each epoch: reports, and keeps the best factors if there is a judge of them."""

    def __init__(
        self,
        callback: Callable[[int, float], object] | None,
        validate: Callable[[SgdFactors], float | None] | None,
        patience: int,
    ) -> None:
        self._callback, self._validate, self._patience = callback, validate, patience
        self._best: SgdFactors | None = None
        self._best_value = -np.inf
        self._best_epoch = 0

    @classmethod
    def of(cls, settings: Settings) -> Watch:
        """Return the watch that the settings ask for."""
        patience = _validate.integer(settings.patience, "patience", minimum=1)
        return cls(settings.callback, settings.validate, patience)

    @property
    def is_idle(self) -> bool:
        """Whether there is neither a callback nor a judge."""
        return self._callback is None and self._validate is None

    def __call__(self, epoch: int, loss: float, factors: SgdFactors) -> bool:
        """Look at the factors after an epoch, which may change afterwards; return whether to stop."""
        stop = self._callback is not None and bool(self._callback(epoch, loss))
        if self._validate is None:
            return stop
        judged = self._validate(factors)
        if judged is None:
            return stop
        value = _validate.number(judged, "what validate returns")
        if self._best is None or value > self._best_value:
            self._best, self._best_value, self._best_epoch = factors._copy(), value, epoch
        return stop or epoch - self._best_epoch >= self._patience

    def best_or(self, last: SgdFactors) -> SgdFactors:
        """Return the best factors judged, or the last where none were."""
        return last if self._best is None else self._best


def trials(max_trials: int) -> int:
    """Return the number of draws of WARP for an entry, checked."""
    return _validate.integer(max_trials, "max_trials", minimum=1, maximum=2**20)


def _empty(shapes: dict[str, tuple[int, ...] | None]) -> SgdFactors:
    parts: dict[str, Any] = {
        name: None if shape is None else np.empty(shape, np.float32) for name, shape in shapes.items()
    }
    return SgdFactors(**parts)


def parts_of(initial: Any, shapes: dict[str, tuple[int, ...] | None]) -> dict[str, Any]:
    """Return the parts of an `initial` by name; refuse other parts than there are shapes, or of other shapes."""
    if isinstance(initial, SgdFactors):
        parts: dict[str, Any] = {name: getattr(initial, name) for name in shapes}
    else:
        parts = dict.fromkeys(shapes)
        parts.update(zip(_TRIPLE, _triple(initial), strict=True))
    for name, shape in shapes.items():
        part = parts[name]
        if (part is None) != (shape is None):
            got = "None" if part is None else "an array"
            by = "explicit_mf" if name == "user_bias" else "features"
            raise ShapeError(f"initial.{name} must be given with {by}, and only with them, got {got}")
        found = None if part is None else tuple(getattr(part, "shape", np.shape(part)))
        if found != shape:
            raise ShapeError(f"initial.{name} must have the shape {shape}, got {found}")
    return parts


def _triple(initial: Any) -> tuple[Any, Any, Any]:
    try:
        first, second, third = initial
    except (TypeError, ValueError):
        got = f"{len(initial)} parts" if hasattr(initial, "__len__") else type(initial).__name__
        raise ShapeError(f"initial must be the result of a fit, or ({', '.join(_TRIPLE)}), got {got}") from None
    return first, second, third


def _copied(initial: Any, shapes: dict[str, tuple[int, ...] | None]) -> SgdFactors:
    parts = parts_of(initial, shapes)
    for name, part in parts.items():
        if part is not None:
            checked = _validate.matrix if np.ndim(part) == 2 else _validate.vector
            parts[name] = checked(part, f"initial.{name}").copy()
    return SgdFactors(**parts)
