"""History into the offline tables, through the same order and the same kernels as the live worker."""
