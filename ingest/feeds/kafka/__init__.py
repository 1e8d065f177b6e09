"""Kafka topics into the streams, each record once: offsets and records are written by one script."""
