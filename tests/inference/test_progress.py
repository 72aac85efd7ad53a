"""A progress bar where there is nothing to show it on."""

import sys

import pytest

from bayeslmm.inference.progress import progress_bar


def test_no_bar_without_a_standard_error_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar(10, "draws", shown=True) as report:
        assert report is None
