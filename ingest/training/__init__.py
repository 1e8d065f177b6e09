"""Training frames as files: the command ``training-frame``, and the trades of the tape as prices and sampling bars."""
