"""Functions as flat programs: jaxprs, roles of equations, gates, levels, storage."""
