"""What a model is trained on: frames of features and labels, sampling bars, weights of samples, and splits that do not leak.

``definitions``, ``prices``, ``labels``, ``bars``, ``weights`` and ``splits`` are functions of arrays; times are int64 microseconds. Their
definitions are those of Lopez de Prado, Advances in Financial Machine Learning, 2018 (chapters 2, 3, 4 and 7); each module names the
sections, and where it differs. ``sources``, ``labelling`` and ``frames`` read the offline store.
"""
