"""The refresher of all access tokens: renews, retries, and changes identities."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import UTC
from functools import partial

from google.auth.exceptions import GoogleAuthError
from google.auth.transport import Request

from orthanc_gcp.auth.account_state import AccountState, AccountStatus, Attempt, Figures
from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.auth.scheduler import Scheduler
from orthanc_gcp.auth.token import BACKOFF, Token, retry_delay
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account
from orthanc_gcp.error_text import classified
from orthanc_gcp.errors import GcpError, NetworkError, TokenError
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import NetworkFault, TokenReason

__all__ = ["TokenRefresher", "acquire", "as_error"]

DAY = 86400.0
GRACE = 5.0
_REFUSED = 401
MOST_LOOKED_AT = 4
"""Credential files that are looked at at once: each takes a thread of the schedule."""
CLOCK_WAS_SET = 1.0
"""Seconds; less is the time that passes between reading one clock and the other."""

_log = logging.getLogger(__name__)


class TokenRefresher:
    """Keeps the access tokens of all accounts.

    Parameters
    ----------
    accounts
        The accounts, each with a name of its own.
    load
        Account -> identity; may raise :class:`GcpError`.
    endpoint
        The transport for ``credentials.refresh()``.
    on_token
        Called with each new token, on a worker thread.
    timeout
        Seconds that a refresh may take; one that takes longer is given up.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        *,
        load: Callable[[Account], Identity],
        endpoint: Request,
        on_token: Callable[[Account, Identity, Token], None],
        schedule: Scheduler,
        clock: Clock,
        timeout: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._states = {account.name: AccountState(account) for account in accounts}
        self._load, self._endpoint, self._on_token = load, endpoint, on_token
        self._schedule, self._clock, self._timeout, self._random = schedule, clock, timeout, jitter
        self._lock = threading.Lock()
        self._stopped = False
        self._outages = {name: _outage(name, clock) for name in self._states}
        self._rotations = {name: _rotation(name, clock) for name in self._states}
        self._watched: deque[tuple[AccountState, Attempt]] = deque()

    def start(self) -> None:
        """Acquire a token for each account, now and for ever after."""
        for state in self._states.values():
            self._plan(state, self._clock.now())

    def stop(self) -> None:
        """No try begins any more: let nobody wait for one."""
        with self._lock:
            self._stopped = True
            waiting = [done for state in self._states.values() for done in state.waiting]
        for done in waiting:
            done.set()

    def status(self, name: str) -> AccountStatus:
        """What may be shown of an account.

        Raises
        ------
        KeyError
            There is no such account.
        """
        state = self._states[name]
        with self._lock:
            return state.status(self._clock)

    def failure(self, name: str) -> tuple[GcpError | None, Identity | None]:
        """Why an account has failed last, and who it is, each as far as there is anything.

        Raises
        ------
        KeyError
            There is no such account.
        """
        state = self._states[name]
        with self._lock:
            return state.error, state.identity

    def figures(self) -> Iterator[tuple[str, Figures]]:
        """The numbers of each account."""
        now = self._clock.now()
        for name, state in self._states.items():
            yield name, state.figures(now)

    def refresh(self, name: str) -> AccountStatus:
        """Acquire a new token now, or join the try that runs; the status after it.

        It waits for the end of the try, for the time limit of a refresh at most.

        Raises
        ------
        KeyError
            There is no such account.
        """
        state = self._states[name]
        done = threading.Event()
        with self._lock:
            if self._stopped:
                return state.status(self._clock)
            state.waiting.append(done)
        self._schedule.at(self._clock.now(), partial(self._refresh, state, None))
        done.wait(self._timeout + GRACE)
        return self.status(name)

    def check_rotation(self) -> None:
        """Try each credential file that has changed; it takes over only if it works."""
        for state in self._states.values():
            if self._has_changed(state):
                self._schedule.at(self._clock.now(), partial(self._rotate, state))

    def _has_changed(self, state: AccountState) -> bool:
        """Whether a credential file has; of those whose drive does not answer, few are asked."""
        identity = state.identity
        with self._lock:
            if identity is None or state.running is not None or state.looked_at:
                return False
            if sum(one.looked_at for one in self._states.values()) >= MOST_LOOKED_AT:
                return False
            state.looked_at = True
        try:
            return identity.changed()
        finally:
            state.looked_at = False

    # -- One try ------------------------------------------------------------------------------

    def _refresh(self, state: AccountState, generation: int | None) -> None:
        """Acquire a token; a plan of an older ``generation`` is void, None is at once."""
        with self._lock:
            if generation not in (None, state.generation):
                return
        attempt = self._begin(state)
        if attempt is not None:
            self._try(state, attempt)

    def _rotate(self, state: AccountState) -> None:
        attempt = self._begin(state, rotating=True)
        if attempt is not None:
            self._try(state, attempt)

    def _begin(self, state: AccountState, rotating: bool = False) -> Attempt | None:
        """One try at a time: None while another runs."""
        with self._lock:
            if state.running is not None:
                return None
            attempt = state.running = Attempt(self._clock.now(), rotating)
            self._watched.append((state, attempt))
            first = len(self._watched) == 1
        if first:
            self._schedule.at(self._limit(attempt), self._watch)
        return attempt

    def _try(self, state: AccountState, attempt: Attempt) -> None:
        try:
            identity = self._identity_for(state, attempt)
            token = acquire(identity, self._endpoint, self._clock)
        except Exception as error:  # whatever a library raises, the account goes on
            self._failed(state, attempt, as_error(error))
        else:
            self._succeeded(state, attempt, identity, token)

    def _identity_for(self, state: AccountState, attempt: Attempt) -> Identity:
        """The identity in use, or one that is loaded anew: to take over, or where it was refused.

        google-auth keeps the token of who impersonates until it has ended by the wall clock, and
        goes on with one that has ended if that was set back (401).
        """
        known = state.identity
        if known is None or attempt.rotating:
            return self._load(state.account)
        if state.failed_in_a_row and state.error is not None and state.error.status == _REFUSED:
            with suppress(GcpError):  # its file is gone, which changes nothing
                return self._load(state.account)
        return known

    def _watch(self) -> None:
        """Give up tries that do not end: one job for all of them, in the order they began."""
        now = self._clock.now()
        overdue = []
        with self._lock:
            while self._watched:
                state, attempt = self._watched[0]
                if state.running is attempt and self._limit(attempt) > now:
                    break
                self._watched.popleft()
                if state.running is attempt:
                    overdue.append((state, attempt))
            following = self._watched[0][1] if self._watched else None
        if following is not None:
            self._schedule.at(self._limit(following), self._watch)
        message = f"the refresh does not end, given up after {self._timeout + GRACE:g} s"
        for state, attempt in overdue:
            self._failed(state, attempt, NetworkError(message, fault=NetworkFault.TIMEOUT))

    def _limit(self, attempt: Attempt) -> float:
        return attempt.began + self._timeout + GRACE

    # -- How it ended -------------------------------------------------------------------------

    def _succeeded(
        self, state: AccountState, attempt: Attempt, identity: Identity, token: Token
    ) -> None:
        with self._lock:
            if state.running is not attempt:
                return
            same = state.has(identity, token)
            state.failed_in_a_row, state.delay = 0, 0.0
            state.running, state.slow = None, False
            state.identity, state.token = identity, token
            state.refreshes += 1
            state.last_success = self._clock.utc()
        self._plan(state, token.renew_at(self._random()))
        if not same:
            self._on_token(state.account, identity, token)
        self._wake(state)
        name = state.account.name
        _log.info("account %s: a token was acquired, it is valid for %.0f s", name, token.lifetime)
        if attempt.rotating and not self._rotations[name].ended():
            _log.warning(_ROTATED, name)
        self._outages[name].ended()
        self._warn_of_age(state, identity)
        # As long as the new file fails, the status says so. To look at it may last for ever.
        if state.rotation_error is not None and not identity.changed():
            state.rotation_error = None

    def _failed(self, state: AccountState, attempt: Attempt, error: GcpError) -> None:
        with self._lock:
            if state.running is not attempt:
                return
            state.running = None
            state.failures += 1
            if attempt.rotating:
                state.rotation_error = str(error)
            else:
                state.failed_in_a_row += 1
                state.error, state.error_at = error, self._clock.utc()
                state.slow = isinstance(error, NetworkError) and error.is_timeout
        if attempt.rotating:
            self._rotation_failed(state, error)
        else:
            self._plan_retry(state, attempt, error)
        self._wake(state)

    def _rotation_failed(self, state: AccountState, error: GcpError) -> None:
        now = self._clock.now()
        when = max(state.next_at or now, now)
        words = f"{error}; the old identity stays in use"
        self._rotations[state.account.name].failed(words, when - now, kind=error.kind)
        self._plan(state, when)

    def _plan_retry(self, state: AccountState, attempt: Attempt, error: GcpError) -> None:
        now = self._clock.now()
        state.delay = retry_delay(state.delay, state.valid_token(now), self._random)
        # The time that the failed try took counts: one that hung for a minute has waited.
        wait = max(state.delay - (now - attempt.began), min(state.delay, BACKOFF.first))
        words = f"{error}; {state.remainder(now)}"
        kind = f"{error.kind}, {'a' if state.valid_token(now) else 'no'} token is left"
        self._outages[state.account.name].failed(words, wait, kind=kind)
        self._plan(state, now + wait)

    def _plan(self, state: AccountState, when: float) -> None:
        with self._lock:
            state.generation += 1
            state.next_at = when
            generation = state.generation
        self._schedule.at(when, partial(self._refresh, state, generation), slow=state.slow)

    def _wake(self, state: AccountState) -> None:
        with self._lock:
            waiting, state.waiting = state.waiting, []
        for done in waiting:
            done.set()

    # -- What the log says --------------------------------------------------------------------

    def _warn_of_age(self, state: AccountState, identity: Identity) -> None:
        age = identity.key_age(self._clock.utc())
        limit = state.account.key_max_age_days
        if age is None or age <= limit:
            return
        now = self._clock.now()
        if now - state.key_age_last_logged < DAY:
            return
        state.key_age_last_logged = now
        _log.warning(
            "account %s: its key file is %.0f days old, more than KeyMaxAgeDays (%d): make a new "
            "key and replace the file, no restart is needed",
            state.account.name,
            age,
            limit,
        )


_ROTATED = "account %s: the changed credential file works and is in use"


def _outage(account: str, clock: Clock) -> Outage:
    name = f"account {account}"
    return Outage(_log, f"{name}: no new token", f"{name}: a new token, recovered", clock)


def _rotation(account: str, clock: Clock) -> Outage:
    down = f"account {account}: the changed credential file does not work"
    return Outage(_log, down, _ROTATED % account, clock)


def acquire(identity: Identity, endpoint: Request, clock: Clock) -> Token:
    """A new token.

    google-auth notes its end on the wall clock. If that is set meanwhile, either before or after
    it was noted, the token's life is the shorter one: the longer one would keep an expired token.

    Raises
    ------
    TokenError
        The endpoint refused or answered with none, or google-auth could not even ask.
    NetworkError
        No complete answer came.
    """
    began, wall = clock.now(), clock.utc()
    credentials = identity.credentials
    try:
        credentials.refresh(endpoint)
    except Exception as error:  # whatever a library raises
        raise as_error(error, identity.file_names) from None
    value, expiry = credentials.token, credentials.expiry
    lifetime = 0.0
    if expiry:
        passed, utc = clock.now() - began, clock.utc()
        set_by = (utc - wall).total_seconds() - passed
        left = (expiry.replace(tzinfo=UTC) - utc).total_seconds()
        lives = (left, left + set_by) if abs(set_by) >= CLOCK_WAS_SET else (left,)
        lifetime = min((life for life in lives if life > 0), default=0.0)
    if not value or not lifetime:
        raise TokenError("the token that came has expired already", reason=TokenReason.EXPIRED)
    # The token's life began before its answer arrived: when it was asked for is the safe side.
    return Token(value, began + lifetime, lifetime)


def as_error(error: Exception, known: Collection[str] = ()) -> GcpError:
    """Any exception as one of ours; the text of a foreign one may quote what it choked on.

    Parameters
    ----------
    known
        The files that it may name.
    """
    if isinstance(error, GcpError):
        return error
    if isinstance(error, GoogleAuthError):
        cause = error.args[0] if error.args else ""
        if isinstance(cause, GcpError):
            return cause
        # What a program or a server has answered stands in it, tokens included.
        words = classified(cause, known) if isinstance(cause, str) else ""
        return TokenError(words or type(error).__name__, reason=TokenReason.GOOGLE_AUTH)
    name = type(error).__name__
    return TokenError(f"unexpected {name} while refreshing", reason=TokenReason.UNEXPECTED)
