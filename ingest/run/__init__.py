"""Running the parts of the pipeline: as processes of this machine, or as actors on a Ray cluster."""
