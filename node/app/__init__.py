"""The composition root: builds the rooms of one node, starts them in the order of their needs, stops them in reverse.

:mod:`.node` is the node itself, an async context manager without module state, so that several run in one process;
:mod:`.serve` runs one until SIGTERM; :mod:`.setup` makes a new one; :mod:`.offline` opens one without serving it.
"""
