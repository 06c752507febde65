"""Runs migrations on the connection, and in the transaction, that `cas.index.migration` hands over.

There is no alembic.ini: an index is upgraded by opening it or by ``cas db upgrade``.
"""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
)
with context.begin_transaction():
    context.run_migrations()
