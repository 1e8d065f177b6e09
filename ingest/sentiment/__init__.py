"""Scoring posts: models, batches, the scorer worker, and the commands around them."""
