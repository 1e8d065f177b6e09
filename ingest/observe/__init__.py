"""What the system keeps about itself, as Prometheus metrics: one exporter reads both stores, so no worker opens a port."""
