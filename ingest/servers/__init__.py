"""Embedded servers: Valkey and PostgreSQL out of wheels, for the demo, the tests and a first look."""
