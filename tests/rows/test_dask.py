"""A Dask data frame on two workers gives the model of the frame."""

import os
from contextlib import contextmanager

import pytest

import bayeslmm as blm

pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")


@contextmanager
def two_workers():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield


@pytest.mark.filterwarnings("ignore")  # those of Dask's own sockets and event loops
def test_two_workers():
    import dask.dataframe as dd

    frame = blm.load_dataset("sleepstudy").astype({"Subject": int})
    formula = "Reaction ~ scale(Days) + (Days | Subject)"
    with two_workers():
        model = blm.Model(formula, dd.from_pandas(frame, npartitions=5), chunk_rows=20)
        with pytest.raises(blm.DataError, match=r"partition 2 of 2: Column 'Days' is infinite"):
            bad = frame.astype({"Days": float})
            bad.loc[150, "Days"] = float("inf")
            blm.Model(formula, dd.from_pandas(bad, npartitions=2))
    theta = [0.9, 0.1, 0.3]
    assert model.objective(theta) == pytest.approx(blm.Model(formula, frame).objective(theta), rel=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_dies(tmp_path):
    import dask.dataframe as dd

    frame = blm.load_dataset("sleepstudy").astype({"Subject": int})
    died = tmp_path / "died"
    here = os.getpid()

    def fatal(days):
        """Return what it was given; the first worker that gets here dies."""
        if os.getpid() != here and not died.exists():
            died.touch()
            os._exit(1)
        return days

    formula = "Reaction ~ fatal(Days) + (Days | Subject)"
    with two_workers():
        rows = dd.from_pandas(frame, npartitions=6)
        model = blm.Model(formula, rows, chunk_rows=20, functions={"fatal": fatal})
    assert died.exists()
    whole = blm.Model(formula, frame, functions={"fatal": fatal})
    assert model.design.n == whole.design.n  # no partition is lost, and none counts twice
    theta = [0.9, 0.1, 0.3]
    assert model.objective(theta) == pytest.approx(whole.objective(theta), rel=1e-9)
