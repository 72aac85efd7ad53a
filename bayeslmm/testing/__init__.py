"""Tests of coefficients and of terms: degrees of freedom, F tests, likelihood ratios. Numbers on arrays."""
