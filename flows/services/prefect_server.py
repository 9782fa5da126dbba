"""Prefect's server, whose transactions on SQLite wait for each other.

Prefect begins a transaction DEFERRED: it reads, and takes the lock when it first writes. Where another has
written in between, SQLite refuses at once ("database is locked"), however long the timeout; the server
answers 503, and its clients ask again after seconds. Of four runs that began at once three were refused, and
now and then one was as often as its client asked. IMMEDIATE takes the lock at the beginning, and waits for
it; so does Prefect itself where it reads rows to change them. See https://www.sqlite.org/isolation.html.

`python -m flows.services.prefect_server` takes the words of `prefect`.
"""

from typing import Any

from prefect.cli import app
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import set_database_config
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession


class WaitingTransactions(AioSqliteConfiguration):
    """SQLite as Prefect configures it, but for how a transaction begins."""

    def begin_transaction(self, session: AsyncSession, with_for_update: bool = False) -> Any:
        """Begin a transaction that may write, whatever it was asked for."""
        del with_for_update
        return super().begin_transaction(session, with_for_update=True)


def main() -> None:
    """Do what `prefect` would."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if url is not None and url.startswith("sqlite"):
        set_database_config(WaitingTransactions(connection_url=url))
    app()


if __name__ == "__main__":
    main()
