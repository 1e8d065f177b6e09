"""The mathematics of the features: incremental, without I/O, clock, Feast or Redis."""
