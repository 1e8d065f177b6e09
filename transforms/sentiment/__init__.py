"""Features of posts: what they say (``sentiment``) and how much is said (``social``)."""
