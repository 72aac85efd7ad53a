"""The cross-products of a fit's rows in a file, so that a saved fit of many rows is read without summing them again.

Arrays only, never pickle. They are indices of compiled loops, so each is checked against the shapes of the model and
the range it counts in before anything is computed with it.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, LargeZipFile

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import TermShape
from bayeslmm.design.centring import Centring
from bayeslmm.design.design import Design
from bayeslmm.errors import StorageError, explanation
from bayeslmm.likelihood.columns import ColumnMap
from bayeslmm.likelihood.crossproducts import CrossProducts, LeadPairs, TrailingBlocks, ordered
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.layout import Layout
from bayeslmm.types import Array

MANY_ROWS = 100_000  # below, summing the rows takes less time than anyone notices
UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, MemoryError, RecursionError, NotImplementedError, RuntimeError,
    BadZipFile, LargeZipFile, zlib.error,
)  # fmt: skip
SAME_RESPONSE = 1e-6  # relative: the sum of squares of the stored response, summed in another order
Arrays = Mapping[str, NDArray[Any]]


def worth_storing(kernel: Kernel | None, design: Design) -> bool:
    """Whether reading the sums is cheaper than summing the rows: there are many, and the sums take less room."""
    if kernel is None or design.n < MANY_ROWS or design.outcome is not None:
        return False
    held = sum(array.nbytes for array in _arrays(kernel).values())
    return held <= 8 * design.n * (1 + design.p + sum(1 + term.n_columns for term in design.terms))


def write_kernel(kernel: Kernel, path: Path) -> None:
    """Write the cross-products of a kernel and its columns' means and scales."""
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **_arrays(kernel))  # type: ignore[arg-type]


def _arrays(kernel: Kernel) -> dict[str, NDArray[Any]]:
    products, layout = kernel.products, kernel.products.layout
    arrays: dict[str, NDArray[Any]] = {
        "counts": np.array([products.n, products.n_fixed], dtype=np.int64),
        "numbers": np.array([products.log_weights, kernel.y_mean]),
        "nest": np.array(layout.nest, dtype=np.int64),
        "trailing": np.array(layout.trailing, dtype=np.int64),
        "entry_starts": products.entry_starts,
        "entry_columns": products.entry_columns,
        "trailing_xy": products.trailing_xy,
        "xy": products.xy,
    }
    for place, (z, xy, parents) in enumerate(zip(products.nest_z, products.nest_xy, layout.parents, strict=True)):
        arrays |= {f"nest_z_{place}": z, f"nest_xy_{place}": xy}
        arrays |= {f"parents_{place}_{above}": parent for above, parent in enumerate(parents)}
    for place, pairs in enumerate(products.lead_pairs):
        arrays |= {f"lead_starts_{place}": pairs.starts, f"lead_blocks_{place}": pairs.blocks}
    for blocks in products.trailing_blocks:
        k, m = blocks.terms
        arrays |= {f"rows_{k}_{m}": blocks.rows, f"columns_{k}_{m}": blocks.columns, f"blocks_{k}_{m}": blocks.blocks}
    for place, columns in enumerate((kernel.fixed, *kernel.maps)):
        arrays |= {f"constant_{place}": columns.centring.constant, f"means_{place}": columns.centring.means}
        arrays[f"scale_{place}"] = columns.scale
    return arrays


def read_kernel(path: Path, design: Design) -> Kernel:
    """Read the kernel of a design.

    Parameters
    ----------
    path
        A file of `write_kernel`.
    design
        The design of the stored rows.

    Raises
    ------
    StorageError
        If it is damaged, or holds the sums of other rows.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        kernel = _kernel(arrays, design)
    except UNREADABLE as error:
        said = explanation(error) if isinstance(error, OSError) else "it is no file of sums, or is damaged."
        raise StorageError(f"{path} cannot be read: {said}") from error
    y = design.y if design.offset is None else design.y - design.offset
    expected = _sum_of_squares(y - kernel.y_mean, design.weights)
    if not abs(kernel.products.xy[-1, -1] - expected) <= SAME_RESPONSE * expected:
        raise StorageError(f"{path} holds the sums of other rows than those stored beside it; fit the model again.")
    return kernel


def _sum_of_squares(y: Array, weights: Array | None) -> float:
    return float(y @ y) if weights is None else float((weights * y) @ y)


def _kernel(arrays: Arrays, design: Design) -> Kernel:
    shapes = tuple(term.shape for term in design.terms)
    layout = _layout(arrays, shapes)
    n, p = (int(count) for count in _take(arrays, "counts", (2,), "i"))
    if (n, p) != (design.n, design.p):
        raise ValueError(f"it counts {n} rows and {p} fixed columns in place of {design.n} and {design.p}")
    log_weights, y_mean = _take(arrays, "numbers", (2,))
    maps = [_column_map(arrays, place, size) for place, size in enumerate([p, *(s.n_columns for s in shapes)])]
    sizes = [shapes[k].n_columns for k in layout.nest]
    nest = [(place, shapes[k].n_levels, shapes[k].n_columns) for place, k in enumerate(layout.nest)]
    starts, columns = _entries(arrays, layout)
    products = CrossProducts(
        layout=layout,
        n=n,
        n_fixed=p,
        log_weights=float(log_weights),
        nest_z=tuple(_take(arrays, f"nest_z_{i}", (J, S, sum(sizes[i:]))) for i, J, S in nest),
        nest_xy=tuple(_take(arrays, f"nest_xy_{i}", (J, S, p + 1)) for i, J, S in nest),
        entry_starts=starts,
        entry_columns=columns,
        lead_pairs=tuple(_lead(arrays, place, layout, len(columns)) for place in range(len(layout.trailing))),
        trailing_blocks=tuple(_trailing(arrays, layout)),
        trailing_xy=_take(arrays, "trailing_xy", (layout.n_trailing, p + 1)),
        xy=_take(arrays, "xy", (p + 1, p + 1)),
    )
    names = tuple(term.name for term in design.terms)
    return Kernel(ordered(products), maps[0], tuple(maps[1:]), float(y_mean), names)


def _layout(arrays: Arrays, shapes: tuple[TermShape, ...]) -> Layout:
    nest, trailing = (tuple(arrays[name].astype(int).tolist()) for name in ("nest", "trailing"))
    if sorted(nest + trailing) != list(range(len(shapes))) or (trailing and len(nest) != 1):
        raise ValueError(f"the terms {nest} and {trailing} are not those of the model")
    parents = tuple(
        tuple(
            _places(arrays, f"parents_{i}_{above}", shapes[outer].n_levels, (shapes[inner].n_levels,), np.int32)
            for above, outer in enumerate(nest[i + 1 :])
        )
        for i, inner in enumerate(nest)
    )
    return Layout(shapes, nest, trailing, parents)


def _entries(arrays: Arrays, layout: Layout) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    columns = _places(arrays, "entry_columns", layout.n_trailing, arrays["entry_columns"].shape, np.uint32)
    levels = layout.shapes[layout.nest[0]].n_levels if layout.nest else 0
    starts = _places(arrays, "entry_starts", len(columns) + 1, arrays["entry_starts"].shape, np.int64)
    expected = {levels + 1} if layout.trailing else {levels + 1, 1}
    if len(starts) not in expected or starts[0] != 0 or starts[-1] != len(columns) or (np.diff(starts) < 0).any():
        raise ValueError("the entries of the leading term are not those of its levels")
    return starts, columns


def _lead(arrays: Arrays, place: int, layout: Layout, n_entries: int) -> LeadPairs:
    lead, own = (layout.shapes[k].n_columns for k in (layout.nest[0], layout.trailing[place]))
    name = f"lead_starts_{place}"
    starts = _places(arrays, name, n_entries - own + 1, arrays[name].shape, arrays[name].dtype)
    blocks = _take(arrays, f"lead_blocks_{place}", (len(starts), lead, own), smallest=4)
    return LeadPairs(layout.trailing[place], starts, blocks)


def _trailing(arrays: Arrays, layout: Layout) -> list[TrailingBlocks]:
    found = []
    for first, k in enumerate(layout.trailing):
        for m in layout.trailing[first:]:
            name = f"{k}_{m}"
            tall, wide = layout.shapes[k].n_columns, layout.shapes[m].n_columns
            size = arrays[f"rows_{name}"].shape
            rows = _places(arrays, f"rows_{name}", layout.n_trailing - tall + 1, size, np.int64)
            columns = _places(arrays, f"columns_{name}", layout.n_trailing - wide + 1, size, np.int64)
            if (rows > columns).any():
                raise ValueError(f"rows_{name} go beyond the diagonal")
            found.append(TrailingBlocks((k, m), rows, columns, _take(arrays, f"blocks_{name}", (*size, tall, wide))))
    return found


def _column_map(arrays: Arrays, place: int, size: int) -> ColumnMap:
    constant, means, scale = (_take(arrays, f"{what}_{place}", (size,)) for what in ("constant", "means", "scale"))
    if (scale <= 0).any():
        raise ValueError(f"scale_{place} is not positive")
    return ColumnMap(Centring(constant, means), scale)


def _take(arrays: Arrays, name: str, shape: tuple[int, ...], kind: str = "f", smallest: int = 8) -> NDArray[Any]:
    """Return finite numbers of a shape, of eight bytes or, where counts may have fewer, of `smallest`."""
    array = arrays[name]
    if array.shape != shape or array.dtype.kind != kind or array.dtype.itemsize not in (smallest, 8):
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape} in place of {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite")
    return np.ascontiguousarray(array)


def _places(arrays: Arrays, name: str, count: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return places from 0 to below `count`."""
    array = arrays[name]
    if array.shape != shape or array.ndim != 1 or array.dtype.kind not in "iu" or array.dtype != dtype:
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape} in place of {shape}")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= count):
        raise ValueError(f"{name} is out of range")
    return np.ascontiguousarray(array)
