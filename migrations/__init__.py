"""The index's schema, step by step (Alembic). In a wheel this folder is `cas.migrations`."""
