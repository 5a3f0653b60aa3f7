"""The mathematics: a function as the max-min of components, level by level."""
