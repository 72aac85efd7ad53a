"""Which algorithm the layout chooses, what it allocates, and how it shares the machine."""

import dataclasses
import threading
from pathlib import Path

import dense
import numpy as np
import pytest

from bayeslmm.covariance import DIAGONAL, TermShape
from bayeslmm.errors import FittingError, ModelError, OptionError
from bayeslmm.likelihood import Kernel, crossproducts, factor, layout, threads
from bayeslmm.likelihood.pattern import Pattern
from bayeslmm.likelihood.sparse import ordering

SUMMATION = 1e-12  # relative: the same sums in another order


def arrays_of(value):
    """Every array reachable from a dataclass or tuple."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from arrays_of(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from arrays_of(getattr(value, field.name))


def kernel_of(layout, n=120, seed=1):
    y, X, terms, _ = dense.simulate(seed, layout, n)
    return Kernel.build(y, X, terms)


@pytest.mark.parametrize(
    ("layout", "nest", "trailing"),
    [
        ("none", (), ()),
        ("scalar", (0,), ()),
        ("vector", (0,), ()),
        ("two terms on one factor", (0, 1), ()),
        ("nested", (1, 0), ()),
        ("nested vector", (0, 1), ()),
        ("nested three", (0, 1, 2), ()),
        ("crossed", (1,), (0,)),
        ("crossed vector", (1,), (0,)),  # 18 effects lead, 14 trail
        ("three factors", (1,), (0, 2)),
        ("nested and crossed", (2,), (0, 1)),  # 21 effects lead
    ],
)
def test_order_of_elimination(layout, nest, trailing):
    found = kernel_of(layout).products.layout
    assert found.nest == nest
    assert found.trailing == trailing


def test_blocks_of_a_nested_model():
    blocks = kernel_of("nested vector").blocks
    assert [b["kind"] for b in blocks] == ["block-diagonal", "block-diagonal", "dense"]
    assert [b["order"] for b in blocks] == [42, 14, 4]


def test_blocks_of_a_crossed_model():
    lead, between, trailing = kernel_of("crossed").blocks
    assert (lead["kind"], lead["order"], lead["density"]) == ("diagonal", 21, 1 / 21)
    assert between["kind"] == "dense"
    assert 0 < between["density"] <= 1
    assert (trailing["kind"], trailing["order"]) == ("dense", 9 + 3 + 1)


def test_sparse_and_dense_rank_updates_agree(monkeypatch):
    kernel = kernel_of("crossed sparse")
    theta = np.linspace(0.3, 1.2, kernel.n_theta)
    found = []
    for threshold in (0.0, 2.0):
        monkeypatch.setattr(factor, "DENSE_LEAD", threshold)
        found.append((kernel.objective(theta), kernel.gradient(theta), kernel.blocks[1]["kind"]))
    assert [kind for _, _, kind in found] == ["dense", "sparse"]
    assert found[0][0] == pytest.approx(found[1][0], rel=SUMMATION)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", ["nested vector", "crossed vector", "three factors"])
def test_rows_are_summed_in_chunks(layout, monkeypatch):
    y, X, terms, weights = dense.simulate(2, layout, weights=True)
    whole = Kernel.build(y, X, terms, weights)
    monkeypatch.setattr(crossproducts, "CHUNK_ROWS", 7)
    pieces = Kernel.build(y, X, terms, weights)
    for found, expected in zip(arrays_of(pieces.products), arrays_of(whole.products), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max(initial=1.0))


@pytest.mark.parametrize("layout", ["scalar", "nested vector", "crossed vector", "three factors"])
def test_nothing_kept_grows_with_the_rows(layout):
    few, many = (kernel_of(layout, n) for n in (3_000, 30_000))  # all pairs of levels meet in both
    shapes = [[a.shape for a in arrays_of(k.products)] for k in (few, many)]
    assert shapes[0] == shapes[1]
    lambdas = few.lambdas(np.ones(few.n_theta))
    sizes = [[a.shape for a in arrays_of(factor.factorise(k.products, lambdas))] for k in (few, many)]
    assert sizes[0] == sizes[1]


def test_sparse_entries_are_the_pairs_that_meet():
    y, X, terms, _ = dense.simulate(3, "crossed sparse")
    pairs = {(a, b) for a, b in zip(terms[1].codes.tolist(), terms[0].codes.tolist(), strict=True)}
    products = Kernel.build(y, X, terms).products
    assert products.layout.nest == (1,)
    assert len(products.entry_columns) == 2 * len(pairs)
    assert products.density == pytest.approx(len(pairs) / (40 * 25))


def test_memory_that_is_not_there(monkeypatch):
    y, X, terms, _ = dense.simulate(4, "three factors")
    order = 5 + 9 * 2 + 3 + 1
    monkeypatch.setattr(layout, "available_memory", lambda: 3 * 8 * order**2)
    built = Kernel.build(y, X, terms, names=["d", "sub", "c"])
    built.check_memory()
    monkeypatch.setattr(layout, "ALWAYS_THERE", 0)
    monkeypatch.setattr(layout, "available_memory", lambda: 3 * 8 * order**2 - 1)
    with pytest.raises(ModelError, match=rf"dense matrix of order {order}.*'c' brings 18 random effects"):
        built.check_memory()


def test_memory_is_asked_for_before_anything_is_allocated(monkeypatch):
    n = 1000
    rng = np.random.default_rng(5)
    codes = [rng.integers(0, 400_000, n).astype(np.int32) for _ in range(2)]
    terms = [dense.Term(c, np.ones((n, 1)), 400_000, True) for c in codes]
    monkeypatch.setattr(layout, "available_memory", lambda: 64 * 2**30)
    monkeypatch.setattr(ordering, "MOST_MEETINGS", 0)  # else few levels would be found to meet
    built = Kernel.build(rng.normal(size=n), np.zeros((n, 0)), terms, names=["a", "b"])  # sums only, no matrix
    with pytest.raises(ModelError, match="dense matrix of order 400,001"):
        built.check_memory()


def test_models_without_a_trailing_matrix_need_no_memory(monkeypatch):
    monkeypatch.setattr(layout, "available_memory", lambda: 0)
    assert kernel_of("nested vector").n_theta == 6


class FakeLibrary:
    def __init__(self, count, filepath="/usr/lib/libopenblas.so"):
        self.num_threads = count
        self.filepath = filepath

    def set_num_threads(self, count):
        self.num_threads = count


def test_threads_are_limited_and_restored(monkeypatch):
    library = FakeLibrary(8)
    monkeypatch.setattr(threads, "_libraries", lambda: [library])
    monkeypatch.setattr(threads, "idle_cores", lambda: 3)
    with threads.blas_threads(100):
        assert library.num_threads == 1
        with threads.blas_threads(5000) as count:  # the outermost block decides
            assert (library.num_threads, count) == (1, 1)
    assert library.num_threads == 8
    with threads.blas_threads(5000) as count:
        assert (library.num_threads, count) == (3, 3)
    assert library.num_threads == 8


@pytest.mark.parametrize("folder", ["scipy.libs", "scipy/.dylibs"])
def test_of_two_libraries_only_scipys_has_several_threads(folder, monkeypatch):
    """Workers of the other would spin on the core that LAPACK's second thread needs."""
    numpys = FakeLibrary(8, "/venv/site-packages/numpy.libs/libscipy_openblas64_.so")
    scipys = FakeLibrary(8, f"/venv/site-packages/{folder}/libscipy_openblas.so")
    monkeypatch.setattr(threads, "_libraries", lambda: [numpys, scipys])
    monkeypatch.setattr(threads, "idle_cores", lambda: 3)
    with threads.blas_threads(5000):
        assert (numpys.num_threads, scipys.num_threads) == (1, 3)
    assert (numpys.num_threads, scipys.num_threads) == (8, 8)


def test_a_lower_limit_of_the_users_stays(monkeypatch):
    library = FakeLibrary(1)
    monkeypatch.setattr(threads, "_libraries", lambda: [library])
    monkeypatch.setattr(threads, "idle_cores", lambda: 4)
    with threads.blas_threads(5000):
        assert library.num_threads == 1
    assert library.num_threads == 1


def test_blocks_open_in_several_threads_restore_once(monkeypatch):
    library = FakeLibrary(8)
    monkeypatch.setattr(threads, "_libraries", lambda: [library])
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with threads.blas_threads(0):
            entered.set()
            leave.wait()

    worker = threading.Thread(target=hold)
    with threads.blas_threads(0):
        worker.start()
        entered.wait()
    assert library.num_threads == 1
    leave.set()
    worker.join()
    assert library.num_threads == 8


def test_at_least_one_core_is_ours():
    assert threads.idle_cores() >= 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the count is read from /proc")
def test_threads_of_python_count_as_busy_and_workers_of_blas_do_not(monkeypatch, tmp_path):
    """Three threads run: this one, another of Python's, and one that Python does not know."""
    other = threading.Thread(target=threading.Event().wait, args=(30,), daemon=True)
    other.start()
    load = "0.5 0.5 0.5 3/200 4242"
    running = {threading.get_native_id(), other.native_id, 1}
    for task in running:
        (tmp_path / str(task)).mkdir()
        (tmp_path / str(task) / "stat").write_text(f"{task} (a (strange) name) R 1 1", encoding="ascii")
    real = threads.Path
    places = {"/proc/self/task": tmp_path}
    (tmp_path.parent / "loadavg").write_text(load, encoding="ascii")
    places["/proc/loadavg"] = tmp_path.parent / "loadavg"
    monkeypatch.setattr(threads, "Path", lambda place: places.get(place, real(place)))
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert threads.idle_cores() == 3


def test_no_degrees_of_freedom_left():
    y, X, terms, _ = dense.simulate(7, "scalar", n=3)
    with pytest.raises(FittingError):
        Kernel.build(y, X, terms).objective([1.0], "reml")


@pytest.mark.parametrize("theta", [[1.0, 2.0], [np.nan], [[1.0]]])
def test_theta_of_the_wrong_shape(theta):
    with pytest.raises(OptionError, match="theta"):
        kernel_of("scalar").objective(theta)


@pytest.mark.parametrize("call", ["objective", "gradient", "conditional"])
def test_every_evaluation_limits_threads(call, monkeypatch):
    kernel = kernel_of("crossed vector")
    library = FakeLibrary(8)
    seen = []
    monkeypatch.setattr(threads, "_libraries", lambda: [library])
    monkeypatch.setattr(
        factor, "cholesky", lambda *a, f=factor.cholesky, **k: seen.append(library.num_threads) or f(*a, **k)
    )
    getattr(kernel, call)(np.ones(6))
    assert seen == [1]
    assert library.num_threads == 8


def test_pairs_are_placed_in_four_bytes() -> None:
    rng = np.random.default_rng(6)
    n, levels, sizes = 400, (30, 9, 7), (1, 2, 1)
    codes = [rng.integers(0, j, n).astype(np.int32) for j in levels]
    shapes = [TermShape(j, s, DIAGONAL) for j, s in zip(levels, sizes, strict=True)]
    pattern = Pattern(codes, layout.choose_layout(codes, shapes))
    assert pattern.layout.nest == (0,) and pattern.layout.trailing == (1, 2)
    for term, first, size, starts, pairs in zip(
        (1, 2), (0, 18), (2, 1), pattern.lead_starts, pattern.lead_rows, strict=True
    ):
        assert starts.itemsize == pairs.itemsize == 4  # there are as many as rows
        places = starts[pairs].astype(int)
        for s in range(size):
            np.testing.assert_array_equal(pattern.entry_columns[places + s], first + codes[term] * size + s)
        level = np.searchsorted(pattern.entry_starts, places, side="right") - 1
        np.testing.assert_array_equal(level, codes[0])
    for j in range(30):
        met = pattern.entry_columns[pattern.entry_starts[j] : pattern.entry_starts[j + 1]]
        assert (np.diff(met.astype(int)) > 0).all()


@pytest.mark.parametrize("case", ["counts", "weights", "slopes", "long levels"])
def test_many_counts_of_pairs_take_four_bytes_and_nothing_else_does(case, monkeypatch) -> None:
    rng = np.random.default_rng(8)
    n = 400
    x = rng.normal(size=n)
    ones = np.broadcast_to(1.0, (n, 1))
    codes = [rng.integers(0, j, n).astype(np.int32) for j in (30, 9)]
    own = np.column_stack([ones, x]) if case == "slopes" else ones
    terms = [dense.Term(codes[0], ones, 30, True), dense.Term(codes[1], own, 9, True)]
    weights = rng.uniform(0.5, 2.0, n) if case == "weights" else None
    y = rng.normal(size=30)[codes[0]] + rng.normal(size=n)
    expected = Kernel.build(y, np.column_stack([np.ones(n), x]), terms, weights)
    monkeypatch.setattr(crossproducts, "MANY_PAIRS", 1)
    if case == "long levels":
        monkeypatch.setattr(crossproducts, "LARGEST_COUNT", 5)
    found = Kernel.build(y, np.column_stack([np.ones(n), x]), terms, weights)
    (blocks,) = (pairs.blocks for pairs in found.products.lead_pairs)
    assert blocks.dtype == (np.float32 if case == "counts" else np.float64)
    np.testing.assert_array_equal(blocks, expected.products.lead_pairs[0].blocks)
    theta = np.full(found.n_theta, 0.7)
    assert found.objective(theta) == expected.objective(theta)
    np.testing.assert_array_equal(found.gradient(theta), expected.gradient(theta))
