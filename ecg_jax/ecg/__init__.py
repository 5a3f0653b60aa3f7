"""ECG recordings: reading, fetching, synthesis, beats, data sets and splits."""
