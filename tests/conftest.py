"""Settings that every test runs under."""

import os
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jaxtyping
import pytest

# Most of the tests' time goes into compiling small programs, so they are compiled with
# little optimization. `XLA_FLAGS= pytest` compiles as a user does; what depends on it,
# rounding, is tested both ways.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # later ones do not know it, and end
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK)

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_default_device", jax.devices()[0])  # None: both of them
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@cache
def group_of(file: str) -> str:
    """A file runs in one process, and so do all files that share the finished run."""
    text = (Path(__file__).parents[1] / file).read_text("utf-8")
    shared = re.search(r"from run_files import[^#]*?\b(tiny|evaluated)\b", text)
    return "run" if shared else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Programs that JAX has compiled, and fixtures, serve the whole of a file."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(super()._split_scope(nodeid))

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
