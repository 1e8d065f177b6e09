"""The sentiment model: loading, batching, and probabilities of texts on a CPU or a GPU."""
