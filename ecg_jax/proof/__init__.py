"""What counts as proven: rounding bounds, certificates, and their adversaries."""
