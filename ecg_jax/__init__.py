"""Exact max-min factorization of neural ECG models, in JAX."""
