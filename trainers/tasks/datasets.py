"""The data sets of the built-in tasks: where they lie, what they must hold, fixed splits. No jax.

Looked for in the folder that is given, in ``LANDSCAPE_DATA``, then in the cache folder; downloaded
into the cache only when asked for. Every file is checked by the digest of its decompressed content.
"""

from __future__ import annotations

import dataclasses
import http.client
import os
import urllib.request
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import ConfigurationError, DataError, did_you_mean
from trainers.tasks.idx import read_idx

_TIMEOUT = 30.0
_MEAN, _STD = 0.1307, 0.3081  # of MNIST; the paper uses them for all sets
_SPLIT_SEED = 20_230_601


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One IDX file: name, shape, the sha256 of its content, and of the published ``.gz`` beside it.

    The second is checked where the first is unknown.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str | None
    sha256_gz: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A data set: its files and where they can be downloaded."""

    title: str
    train_images: Part
    train_labels: Part
    test_images: Part
    test_labels: Part
    url: str

    @property
    def parts(self) -> tuple[Part, ...]:
        """All files."""
        return (self.train_images, self.train_labels, self.test_images, self.test_labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images [N, H, W, 1] float32, normalised, and labels [N] int32, by split."""

    name: str
    splits: dict[str, tuple[np.ndarray, np.ndarray]]
    num_classes: int = 10


def _mnist_like(title: str, url: str, *digests: str | None, train_images_gz: str | None = None) -> Source:
    names: tuple[tuple[str, tuple[int, ...]], ...]
    names = (("train-images-idx3-ubyte", (60_000, 28, 28)), ("train-labels-idx1-ubyte", (60_000,)))
    names += (("t10k-images-idx3-ubyte", (10_000, 28, 28)), ("t10k-labels-idx1-ubyte", (10_000,)))
    parts = [Part(name=n, shape=s, sha256=d) for (n, s), d in zip(names, digests, strict=True)]
    return Source(
        title=title,
        url=url,
        train_images=dataclasses.replace(parts[0], sha256_gz=train_images_gz),
        train_labels=parts[1],
        test_images=parts[2],
        test_labels=parts[3],
    )


# Digests of the decompressed files, so that .gz, .xz and raw copies are all recognised. For the training
# images of K-MNIST only that of the .gz is published (torchvision's prototype data sets, red-datasets):
# of other copies shape and header are checked.
SOURCES = {
    "mnist": _mnist_like(
        "MNIST (LeCun, Cortes & Burges 1998)",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion_mnist": _mnist_like(
        "Fashion-MNIST (Xiao, Rasul & Vollgraf 2017)",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    "kmnist": _mnist_like(
        "Kuzushiji-MNIST (Clanuwat et al. 2018)",
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        None,
        "2a16eeae62da984b8bd24fa32e31d47291f01dac3fe84d5594f304f71e7d374b",
        "76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
        "a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
        train_images_gz="51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    ),
}
_DIGITS = (
    Part(
        name="digits-images-idx3-ubyte",
        shape=(1_797, 8, 8),
        sha256="359cd13f0f514122884198b78a131df597421cbf5e93a76678fa96fc548f0d96",
    ),
    Part(
        name="digits-labels-idx1-ubyte",
        shape=(1_797,),
        sha256="ce71631c1f31ce56fa54f31d1d498fafacff59b001e6c30c4a5e29508aa277ad",
    ),
)
NAMES = ("digits", *SOURCES)


def cache_folder() -> Path:
    """Return where downloads go: ``LANDSCAPE_CACHE``, else ``landscape`` in the user's cache folder."""
    if (chosen := os.environ.get("LANDSCAPE_CACHE")) is not None:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "landscape"


def load_dataset(name: str, *, folder: str | Path | None = None, download: bool = False) -> Dataset:
    """Return a data set with its fixed splits.

    Parameters
    ----------
    name : str
        ``"digits"``, ``"mnist"``, ``"fashion_mnist"`` or ``"kmnist"``.
    folder : path, optional
        Where ``<name>/<file>`` lies, tried first.
    download : bool
        Whether missing files may be fetched into the cache folder.

    Raises
    ------
    DataError
        If a file is missing (naming the folder to fill by hand) or damaged.
    """
    if name == "digits":
        return _digits()
    if name not in SOURCES:
        raise ConfigurationError(
            f"data set {name!r}: not one of the built-in ones",
            expected="one of " + ", ".join(NAMES),
            hint=did_you_mean(name, NAMES) or "Train on data of your own by --problem file.py:function.",
        )
    source = SOURCES[name]
    arrays = []
    for part in source.parts:
        path = _find(name, part, folder) or _fetch(name, source, part, folder, download=download)
        arrays.append(_read(path, part))
    train_x, train_y, test_x, test_y = arrays
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(train_y))
    train, validation = np.sort(order[:55_000]), np.sort(order[55_000:])
    splits = {
        "train": _example_pair(train_x[train], train_y[train], 255.0),
        "validation": _example_pair(train_x[validation], train_y[validation], 255.0),
        "test": _example_pair(test_x, test_y, 255.0),
    }
    return Dataset(name=name, splits=splits)


def _digits() -> Dataset:
    with resources.as_file(resources.files("trainers") / "tasks" / "data") as folder:
        images, labels = (read_idx(folder / f"{part.name}.xz", part.shape, part.sha256) for part in _DIGITS)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    bounds = {"train": order[:1_257], "validation": order[1_257:1_437], "test": order[1_437:]}
    return Dataset(
        name="digits",
        splits={split: _example_pair(images[i], labels[i], 16.0) for split, i in bounds.items()},
    )


def _example_pair(images: np.ndarray, labels: np.ndarray, white: float) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised images [N, H, W, 1] and labels, refusing labels that are not classes."""
    if labels.size and int(labels.max()) > 9:
        raise DataError("labels: out of range", expected="0 to 9", got=f"{int(labels.max())}")
    scaled = (images.astype(np.float32) / np.float32(white) - np.float32(_MEAN)) / np.float32(_STD)
    return scaled[..., None], labels.astype(np.int32)


def _read(path: Path, part: Part) -> np.ndarray:
    """Return the array of a file, after checking its digest."""
    packed = part.sha256_gz if part.sha256 is None and path.suffix == ".gz" else None
    return read_idx(path, part.shape, part.sha256, sha256_file=packed)


def _find(name: str, part: Part, folder: str | Path | None) -> Path | None:
    for root in [*_given(folder).values(), cache_folder()]:
        for base in (root / name, root):
            if base == root and root == cache_folder():
                continue
            for suffix in (".gz", ".xz", ""):
                if (path := base / f"{part.name}{suffix}").is_file():
                    return path
    return None


def _given(folder: str | Path | None) -> dict[str, Path]:
    """Return the folders that the user has named, by what named them."""
    named = {"task_options.folder": folder, "LANDSCAPE_DATA": os.environ.get("LANDSCAPE_DATA")}
    return {name: Path(path).expanduser() for name, path in named.items() if path}


def _fetch(name: str, source: Source, part: Part, folder: str | Path | None, *, download: bool) -> Path:
    """Download one file into the cache, or say where to put it."""
    target = cache_folder() / name / f"{part.name}.gz"
    if not download:
        hint = f"Put the file there, or allow the download: --set task_options.download=true ({source.url})."
        raise _missing(source, part, target, folder, hint=hint)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(f"{source.url}{part.name}.gz", temporary, limit=64 * 2**20)
        checked = temporary.rename(temporary.with_suffix(".gz"))
        _read(checked, part)
        checked.replace(target)
    except DataError as error:
        raise DataError(
            f"{source.url}{part.name}.gz: what was downloaded is not the file of {source.title}",
            expected=error.expected,
            got=error.got,
            hint=f"Nothing was kept. Put the file there by hand: {target}",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        hint = f"Put the file there by hand; it was asked for at {source.url}{part.name}.gz"
        raise _missing(source, part, target, folder, hint=hint, failed=f"no download: {reason}") from error
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_suffix(".gz").unlink(missing_ok=True)
    return target


def _missing(
    source: Source,
    part: Part,
    target: Path,
    folder: str | Path | None,
    *,
    hint: str,
    failed: str | None = None,
) -> DataError:
    """Return the error that says where a file was looked for."""
    given = _given(folder)
    inside = f"{target.parent.name}/{part.name}(.gz or .xz)"
    elsewhere = " or ".join(map(str, given.values())) or "the folder that LANDSCAPE_DATA names"
    absent = [f"{name}={path} is not a folder" for name, path in given.items() if not path.is_dir()]
    return DataError(
        f"{source.title}: {part.name} is not there",
        expected=f"{target}, or {inside} in {elsewhere}",
        got="; ".join([*absent, *([failed] if failed else [])]) or None,
        hint=hint,
    )


def _download(url: str, target: Path, *, limit: int) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:  # noqa: S310  the addresses stand above
        data: Any = response.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"more than {limit:,} bytes")
    target.write_bytes(data)
