"""Elimination without a factor: crossed effects by conjugate gradients, traces and determinants by probes."""
