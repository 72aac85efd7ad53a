"""A Dask data frame on two workers gives the model of the frame."""

import pytest

import bayeslmm as blm

pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")


@pytest.mark.filterwarnings("ignore")  # those of Dask's own sockets and event loops
def test_two_workers():
    import dask.dataframe as dd

    frame = blm.load_dataset("sleepstudy").astype({"Subject": int})
    formula = "Reaction ~ scale(Days) + (Days | Subject)"
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        model = blm.Model(formula, dd.from_pandas(frame, npartitions=5), chunk_rows=20)
        with pytest.raises(blm.DataError, match=r"partition 2 of 2: Column 'Days' is infinite"):
            bad = frame.astype({"Days": float})
            bad.loc[150, "Days"] = float("inf")
            blm.Model(formula, dd.from_pandas(bad, npartitions=2))
    theta = [0.9, 0.1, 0.3]
    assert model.objective(theta) == pytest.approx(blm.Model(formula, frame).objective(theta), rel=1e-9)
