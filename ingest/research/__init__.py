"""What a desk asks of a training frame: which features tell of the coming return, which repeat others, and which look
into the future.

Everything here reads a frame as ``training-frame`` writes it; no server is needed.
"""
