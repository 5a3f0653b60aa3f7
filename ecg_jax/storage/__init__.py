"""Files: atomic writes, arrays, programs and equations; no pickle."""
