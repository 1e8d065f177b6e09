"""What a training set needs beyond features: labels, sampling bars, weights of samples, and splits that do not leak.

Everything here is a function of arrays: no store is read. Times are int64 microseconds since 1970 UTC. The definitions are those of
Lopez de Prado, Advances in Financial Machine Learning, 2018 (chapters 2, 3, 4 and 7). Each module names the sections, and where it differs.
"""
