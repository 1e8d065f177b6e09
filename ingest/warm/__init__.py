"""States of symbols made again from history, for workers that go on with them: a new symbol, an emptied Redis, kernels that began anew."""
