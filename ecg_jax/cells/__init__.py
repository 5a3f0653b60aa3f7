"""What a group of beats looks like: shape, sketch, words, what a component weighs."""
