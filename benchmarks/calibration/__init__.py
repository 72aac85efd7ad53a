"""The long studies: simulation-based calibration, coverage, agreement of methods, and their report."""
