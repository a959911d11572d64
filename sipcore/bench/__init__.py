"""What `sipcore bench` measures: an installed package against the C yardstick that it carries.

Absolute times say little on a machine that others share, so every figure is a
ratio to a yardstick measured in turn with it.  Reads clocks and starts
processes, as no other room may; the rooms that it measures do not know it.
"""
