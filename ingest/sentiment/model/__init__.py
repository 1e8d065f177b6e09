"""The sentiment model: loading it, batching texts, and computing probabilities, on a CPU or a GPU."""
