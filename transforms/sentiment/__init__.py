"""Features of posts: what they say (``sentiment``), and how many there are (``social``)."""
