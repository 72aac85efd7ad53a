"""From rows that are read in batches to a design without rows: learn, sum, decide."""

from bayeslmm.streams.building import build_streamed_design
from bayeslmm.streams.deciding import decide

__all__ = ["build_streamed_design", "decide"]
