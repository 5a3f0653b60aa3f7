"""What a tree says of beats: decided, measured, drawn, told."""
