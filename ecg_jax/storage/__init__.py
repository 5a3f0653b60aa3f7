"""Files: atomic writes, arrays, tables, locks and sealed folders; no pickle."""
