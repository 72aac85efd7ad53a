"""NUTS, on the integrated density or on the explicit hierarchy."""
