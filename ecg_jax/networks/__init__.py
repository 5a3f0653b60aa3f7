"""Networks: shapes, training, and what is kept of a trained one."""
