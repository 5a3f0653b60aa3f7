"""Sweeps: many networks by one configuration, here or on a cluster."""
