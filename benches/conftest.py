"""What all benches share: the messages that the figures are measured on.

A bench never fails on wall-clock time; it reports, and the ratios are taken
against a yardstick in the same run.
"""
