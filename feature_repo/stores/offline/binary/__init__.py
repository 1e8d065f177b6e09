"""PostgreSQL's binary COPY format: columns into bytes, bytes into Arrow arrays."""
