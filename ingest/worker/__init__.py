"""The feature worker: entries of the partition logs in, rows of features out.

Read `worker`, `partition`, `symbol`, `timeline`, `rows` and `commit` in this order.
"""
