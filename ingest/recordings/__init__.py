"""What files say: each format read into messages, with the lines that are refused.

Raw captures, JSON lines, tables of trades, books and posts; nothing here writes to a server.
"""
