"""Runs: the main job, and what is done with a finished one or another network."""
