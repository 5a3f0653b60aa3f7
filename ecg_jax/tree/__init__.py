"""The hierarchical equation on a data set: grown, decided, certified, edited, saved."""
