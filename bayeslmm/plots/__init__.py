"""Pictures from arrays and frames, as matplotlib figures."""
