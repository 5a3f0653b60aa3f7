"""Settings that every test runs under."""

import os
import re
from pathlib import Path

import jax
import jaxtyping
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Most of the tests' time goes into compiling small programs, so they are compiled with
# little optimization. `XLA_FLAGS= pytest` compiles as a user does; what depends on it,
# rounding, is tested both ways.
QUICK = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("XLA_FLAGS", QUICK)

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


class ByFile(LoadFileScheduling):
    """A file runs in one process, and so do all files that share the finished run."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        text = (Path(__file__).parents[1] / file).read_text()
        return "run" if re.search("import .*(tiny|evaluated)", text) else file


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer
) -> LoadFileScheduling:
    """Programs that JAX has compiled, and fixtures, serve the whole of a file."""
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests read and write no cache of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECG_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def unchecked():
    """Annotations go unchecked, as for a user, who sees the package's own words.

    For what the package refuses itself though its annotation says so already.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def ecg_data() -> Path:
    """Folder with the real recordings, named by ECG_JAX_DATA."""
    folder = os.environ.get("ECG_JAX_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set ECG_JAX_DATA to a folder with challenge-2017/ and mitdb/")
    return Path(folder)
