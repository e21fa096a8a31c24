"""Parameter trees by path: names of leaves, one flat vector, digests, checks at the boundary. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.trees.carried import (
        carried_texts as carried_texts,
        opened as opened,
        sealed as sealed,
    )
    from landscape.trees.checks import (
        apply_mask as apply_mask,
        check_finite as check_finite,
        check_same_architecture as check_same_architecture,
        check_std as check_std,
        check_zero_where_masked as check_zero_where_masked,
        checked_mask as checked_mask,
        count_non_finite as count_non_finite,
        fully_masked as fully_masked,
        non_finite as non_finite,
    )
    from landscape.trees.collections import (
        split_collections as split_collections,
        statistics_paths as statistics_paths,
    )
    from landscape.trees.digests import (
        DIGEST_BYTES as DIGEST_BYTES,
        array_digest as array_digest,
        canonical_bytes as canonical_bytes,
        text_digest as text_digest,
        tree_digest as tree_digest,
    )
    from landscape.trees.layout import (
        Layout as Layout,
    )
    from landscape.trees.nodes import (
        escape_key as escape_key,
        unescape_key as unescape_key,
    )
    from landscape.trees.paths import (
        arrays_by_path as arrays_by_path,
        arrays_with_paths as arrays_with_paths,
        by_path as by_path,
        difference as difference,
        empties_by_path as empties_by_path,
        fill as fill,
        is_canonical as is_canonical,
        leaves_with_paths as leaves_with_paths,
        map_arrays as map_arrays,
        map_with_paths as map_with_paths,
        nest as nest,
        shapes as shapes,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "carried": (
            "carried_texts",
            "opened",
            "sealed",
        ),
        "checks": (
            "apply_mask",
            "check_finite",
            "check_same_architecture",
            "check_std",
            "check_zero_where_masked",
            "checked_mask",
            "count_non_finite",
            "fully_masked",
            "non_finite",
        ),
        "collections": (
            "split_collections",
            "statistics_paths",
        ),
        "digests": (
            "DIGEST_BYTES",
            "array_digest",
            "canonical_bytes",
            "text_digest",
            "tree_digest",
        ),
        "layout": ("Layout",),
        "nodes": (
            "escape_key",
            "unescape_key",
        ),
        "paths": (
            "arrays_by_path",
            "arrays_with_paths",
            "by_path",
            "difference",
            "empties_by_path",
            "fill",
            "is_canonical",
            "leaves_with_paths",
            "map_arrays",
            "map_with_paths",
            "nest",
            "shapes",
        ),
    },
)
