"""Features of trades alone: returns, one-minute bars, volume by price, and the calendar.

A row holds what was traded at or before its time. Seconds and minutes are right-closed, as windows are: the bar of
00:00 to 00:01 holds the trades of ``(00:00, 00:01]`` and counts from 00:01 on. A minute without a trade makes no
bar. Sessions are calendar days, ``[00:00, 24:00)`` UTC: a trade at midnight exactly is the new session's first.
"""
