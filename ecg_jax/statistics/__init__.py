"""Numbers on arrays: quality of a margin, purity of a partition."""
