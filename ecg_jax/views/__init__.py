"""Where the three wings meet: what a tree says of beats, measured, drawn, told."""
