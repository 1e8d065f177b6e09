"""The mathematics: pure, incremental, no I/O, no clock, no Feast, no Redis."""
