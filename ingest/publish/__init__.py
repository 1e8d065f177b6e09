"""How a message enters the streams: appended to its partition's log, or to the scorer's stream.

Feeds, replay and simulator publish through here; the router and the scorer move what others wrote.
"""
