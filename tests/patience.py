"""How long tests wait for what must come."""

# What waits on a quiet machine is multiplied by this: a bound ends what hangs, and never judges speed.
PATIENCE = 5
