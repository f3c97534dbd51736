"""The stores that accounts name, and have named: an account's name says nothing of its store.

A store is named by its path, ``projects/…/locations/…/datasets/…/dicomStores/…`` (Cloud Healthcare
API, REST resource ``projects.locations.datasets.dicomStores``), and by who answers for it. What the
configuration of a process says is what an account is to that process: two workers of different
configurations on one database each send to their own stores.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import sqlalchemy as sql

from orthanc_gcp.configuration import Settings
from orthanc_gcp.ledger.database import OneAtATime, lock_alone, reading, writing
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import destinations

__all__ = ["AccountStore", "Destinations", "Registration", "StoreName", "stores_of"]


class StoreName(NamedTuple):
    """What names a store: its path, and who answers for it, empty for Google."""

    path: str
    endpoint: str = ""

    def __str__(self) -> str:
        return f"{self.path} at {self.endpoint}" if self.endpoint else self.path


def stores_of(settings: Settings) -> dict[str, StoreName]:
    """Account -> the store that a configuration names."""
    return {one.name: StoreName(one.store_path, settings.endpoint) for one in settings.accounts}


@dataclass(frozen=True, slots=True)
class AccountStore:
    """A store that an account names, or has named.

    Attributes
    ----------
    store
        Its path; None of a ledger that did not write it down, or while it is not known.
    since
        When the account named it first, in UTC seconds.
    used_at
        When a worker has last begun to send there.
    """

    id: int
    account: str
    endpoint: str
    store: str | None
    since: float
    used_at: float

    @property
    def name(self) -> StoreName | None:
        """What names the store, as far as that is known."""
        return None if self.store is None else StoreName(self.store, self.endpoint)


class Registration(NamedTuple):
    """What an account is from now on, and what it was last, if that is another store.

    Attributes
    ----------
    adopted
        Whether it was not known before which store it was.
    """

    now: AccountStore
    before: AccountStore | None
    adopted: bool


# Made once: SQLAlchemy takes longer to make a statement than SQLite to answer it.
_EVERY = sql.select(*(destinations.c[field.name] for field in fields(AccountStore))).order_by(
    destinations.c.id
)
_OF_ACCOUNT = _EVERY.where(destinations.c.account == sql.bindparam("of_account"))


class Destinations:
    """Which destination an account is to this process.

    Parameters
    ----------
    stores
        Account -> the store that the configuration of this process names. What it has no store
        for, as its options have an error, is the store that a worker has last used.
    """

    def __init__(
        self,
        engine: sql.Engine,
        now: Callable[[], float],
        stores: Mapping[str, StoreName] | None = None,
    ) -> None:
        self._engine, self._now = engine, now
        self._stores = dict(stores or {})
        self._ids: dict[str, int] = {}

    @property
    def stores(self) -> Mapping[str, StoreName]:
        """Account -> the store that the configuration of this process names."""
        return self._stores

    def all(self) -> list[AccountStore]:
        """All that there ever were, in the order in which they were first named."""
        with reading(self._engine) as connection:
            return _every(connection)

    def current(self, known: Iterable[AccountStore] | None = None) -> dict[str, AccountStore]:
        """Account -> what it is to this process, of all accounts that the ledger knows.

        Parameters
        ----------
        known
            What :meth:`all` has just said; None to ask for it.
        """
        by_account = _by_account(self.all() if known is None else known)
        found = {name: self._choose(name, own) for name, own in by_account.items()}
        return {name: one for name, one in found.items() if one is not None}

    def find(self, account: str) -> int | None:
        """The destination that an account is to this process; None if nothing was sent there."""
        known = self._ids.get(account)
        if known is not None:
            return known
        with reading(self._engine) as connection:
            found = self._choose(account, _of_account(connection, account))
        return None if found is None else self._remember(found).id

    def with_store_of(self, account: str) -> list[int]:
        """The destinations that are the same store as the account: several may name one."""
        current = self.find(account)
        every = self.all()
        name = next((one.name for one in every if one.id == current), None)
        return [one.id for one in every if one.id == current or (name and one.name == name)]

    def of(self, connection: sql.Connection, accounts: Iterable[str]) -> dict[str, int]:
        """The same in a transaction that is open; those that are new are written down."""
        return {name: self._ids.get(name) or self._of(connection, name) for name in accounts}

    def register(self) -> list[Registration]:
        """A worker sends to these stores from now on; what each account was before."""
        with writing(self._engine) as connection:
            lock_alone(connection, OneAtATime.WRITE_DOWN_DESTINATION)
            known = _by_account(_every(connection))
            found = [
                self._register(connection, account, known.get(account, []))
                for account in sorted(self._stores)
            ]
            for some in portions([one.now.id for one in found], MOST_PARAMETERS):
                used = destinations.update().where(destinations.c.id.in_(some))
                connection.execute(used.values(used_at=self._now()))
        for one in found:
            self._remember(one.now)
        return found

    def _of(self, connection: sql.Connection, account: str) -> int:
        found = self._choose(account, _of_account(connection, account))
        if found is None or found.name != self._stores.get(account, found.name):
            lock_alone(connection, OneAtATime.WRITE_DOWN_DESTINATION)
            known = _of_account(connection, account)  # another may have been first
            return self._register(connection, account, known).now.id
        return self._remember(found).id

    def _register(
        self, connection: sql.Connection, account: str, known: Sequence[AccountStore]
    ) -> Registration:
        last = max(known, key=_last_used, default=None)
        found = self._choose(account, known)
        store = self._stores.get(account)
        adopted = found is not None and store is not None and found.store is None
        if found is None:
            found = _insert(connection, account, store, self._now())
        elif adopted and store is not None:
            found = _adopt(connection, found, store)
        before = None if last is None or last.id == found.id else last
        return Registration(found, before, adopted)

    def _choose(self, account: str, known: Sequence[AccountStore]) -> AccountStore | None:
        store = self._stores.get(account)
        if store is None:
            return max(known, key=_last_used, default=None)
        named = {one.name: one for one in known}
        return named.get(store) or named.get(None)

    def _remember(self, found: AccountStore) -> AccountStore:
        """What names a store stands for it for ever; what is not known may become another."""
        if found.name is not None and found.name == self._stores.get(found.account):
            self._ids[found.account] = found.id
        return found


def _last_used(one: AccountStore) -> tuple[float, int]:
    return one.used_at, one.id


def _every(connection: sql.Connection) -> list[AccountStore]:
    return [AccountStore(*row) for row in connection.execute(_EVERY)]


def _by_account(known: Iterable[AccountStore]) -> dict[str, list[AccountStore]]:
    found: dict[str, list[AccountStore]] = {}
    for one in known:
        found.setdefault(one.account, []).append(one)
    return found


def _of_account(connection: sql.Connection, account: str) -> list[AccountStore]:
    found = connection.execute(_OF_ACCOUNT, {"of_account": account})
    return [AccountStore(*row) for row in found]


def _insert(
    connection: sql.Connection, account: str, store: StoreName | None, now: float
) -> AccountStore:
    values: dict[str, Any] = {
        "account": account,
        "endpoint": store.endpoint if store else "",
        "store": store.path if store else None,
        "since": now,
        "used_at": now,
    }
    row = connection.execute(destinations.insert().values(values)).inserted_primary_key
    assert row is not None  # noqa: S101 - one row was inserted # nosec B101
    return AccountStore(id=row[0], **values)


def _adopt(connection: sql.Connection, found: AccountStore, store: StoreName) -> AccountStore:
    """Only the one row is written, however many transfers there are."""
    connection.execute(
        destinations.update()
        .where(destinations.c.id == found.id)
        .values(store=store.path, endpoint=store.endpoint)
    )
    return replace(found, store=store.path, endpoint=store.endpoint)
