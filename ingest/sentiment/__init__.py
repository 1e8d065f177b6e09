"""Scoring of posts: the scorer of the stream, the table of scores, the models, and the commands around them."""
