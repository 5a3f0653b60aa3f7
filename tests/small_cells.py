"""Beats of known shape, and the sketches of cells of them."""

import numpy as np

from ecg_jax.cells.sketch import composite

RATE = 100.0
BEFORE = 0.25
TIME = np.arange(65) / RATE - BEFORE


def bump(center, width, height):
    return height * np.exp(-0.5 * ((TIME - center) / width) ** 2)


def shape(qrs=0.012, r=1.2, st=0.0, t=0.3, p=0.12):
    raised = st / (1 + np.exp(-(TIME - 0.05) / 0.004)) * (TIME < 0.36)
    return bump(-0.16, 0.02, p) + bump(0, qrs, r) + bump(0.24, 0.04, t - st) + raised


def cell(num=40, records=8, seed=0, noise=0.02, **shapes):
    noise = np.random.default_rng(seed).normal(0, noise, (num, 1, len(TIME)))
    return (shape(**shapes) + noise).astype(np.float32), np.arange(num) % records


def draw(beats, record, label=None, margin=None, **more):
    label = ["N"] * len(beats) if label is None else label
    margin = np.ones(len(beats)) if margin is None else margin
    return composite(
        beats, record, label, margin, sample_rate_hz=RATE, before_s=BEFORE, **more
    )
