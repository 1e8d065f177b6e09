"""Features of trades alone: returns, one-minute bars, volume by price, and the calendar.

A row holds the trades at or before its time. Seconds and minutes include their end, as windows do: the bar of 00:00 to 00:01 holds the
trades of ``(00:00, 00:01]`` and counts from 00:01 on. A minute without a trade makes no bar. Sessions
include their beginning and not their end: a trade at exactly midnight is the first of the new session.
"""
