"""k-means on clusters that are known."""

import numpy as np

from ecg_jax.statistics.cluster import kmeans, means, nearest


def blobs(seed=0, count=40):
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    x = centres[np.arange(4 * count) % 4] + rng.normal(size=(4 * count, 2))
    return x, np.arange(4 * count) % 4


def test_known_clusters_are_found():
    x, truth = blobs()
    for seed in range(5):
        centres = kmeans(x, 4, seed=seed)
        cells = nearest(x, centres)
        assert len({(t, c) for t, c in zip(truth, cells, strict=True)}) == 4
        assert np.allclose(means(x, cells, centres), centres, atol=1e-5)


def test_the_same_seed_gives_the_same_centres():
    x, _ = blobs(1)
    assert np.array_equal(kmeans(x, 3, seed=2), kmeans(x, 3, seed=2))
    assert kmeans(x.astype(np.float32), 3).dtype == np.float32


def test_duplicates_and_as_many_centres_as_samples():
    x = np.repeat([[1.0, 2.0]], 6, axis=0)
    assert np.array_equal(kmeans(x, 3), x[:3])
    assert np.array_equal(nearest(x, kmeans(x, 3)), np.zeros(6))
    y = np.array([[0.0], [1.0], [5.0]])
    assert sorted(kmeans(y, 3)[:, 0].tolist()) == [0, 1, 5]


def test_an_empty_cell_keeps_its_centre():
    x = np.array([[0.0], [2.0]])
    kept = means(x, np.array([0, 0]), np.array([[7.0], [9.0]]))
    assert kept.tolist() == [[1.0], [9.0]]


def test_ties_go_to_the_first():
    assert nearest(np.array([[0.0]]), np.array([[1.0], [-1.0]])).tolist() == [0]


def test_blocks_do_not_matter(monkeypatch):
    x, _ = blobs(3)
    centres = x[:5]
    whole = nearest(x, centres)
    monkeypatch.setattr("ecg_jax.statistics.cluster._BLOCK", 7)
    assert np.array_equal(nearest(x, centres), whole)
