"""The demo's page: what the stores hold, drawn. ``data`` reads them, ``page`` makes one file of it."""
