"""How far work is: a call with what is done, a bar on a terminal, lines in a pipe."""
