"""Live feeds: venues, a webhook, a pipe and Kafka, published into the streams as messages come."""
