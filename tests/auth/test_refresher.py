"""The refresher: schedules in simulated time, threads and endpoints in real time."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.auth.refresher import TokenRefresher
from orthanc_gcp.auth.scheduler import Scheduler
from orthanc_gcp.auth.token import BACKOFF, Token, refresh_margin
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import Account
from orthanc_gcp.errors import CredentialError, NetworkError, TokenError
from orthanc_gcp.reasons import CredentialReason, NetworkFault, of_status
from tests.support.orthanc import wait_until
from tests.support.simulation import FakeClock, FakeSchedule

LIFETIMES = st.one_of(st.floats(5, 60), st.floats(60, 3600), st.floats(3600, 43200))


def account(name="my-google") -> Account:
    return Account(name, project="p", location="l", dataset="d", dicom_store="s")


class Credentials:
    """What google-auth's credentials look like to the refresher."""

    def __init__(self, clock, lifetime, latency=0.0, fails=lambda now: None) -> None:
        self.clock, self.lifetime, self.latency, self.fails = clock, lifetime, latency, fails
        self.token, self.expiry = None, None
        self.count = 0

    def refresh(self, endpoint) -> None:
        asked = self.clock.utc()
        self.clock.time += self.latency
        self.fails(self.clock.now())
        self.count += 1
        self.token = f"token-{self.count}"
        self.expiry = (asked + timedelta(seconds=self.latency + self.lifetime)).replace(tzinfo=None)


class Simulation:
    """One account, and what was published when."""

    def __init__(self, lifetime, latency=0.0, fails=lambda now: None, jitter=lambda: 0.5) -> None:
        self.clock = FakeClock()
        self.schedule = FakeSchedule(self.clock)
        self.credentials = Credentials(self.clock, lifetime, latency, fails)
        self.published: list[tuple[float, Token]] = []
        self.refresher = TokenRefresher(
            [account()],
            load=lambda _: Identity("user", self.credentials),
            endpoint=None,
            on_token=lambda _, _identity, token: self.published.append((self.clock.now(), token)),
            schedule=self.schedule,
            clock=self.clock,
            timeout=60,
            jitter=jitter,
        )
        self.start = self.clock.now()
        self.refresher.start()

    def run(self, seconds: float) -> None:
        self.schedule.run_until(self.clock.now() + seconds)

    def gaps(self) -> list[float]:
        """Seconds without a living token, after the first one."""
        ends = [token.expires_at for _, token in self.published]
        begins = [when for when, _ in self.published[1:]]
        return [begin - end for begin, end in zip(begins, ends, strict=False) if begin > end]


@settings(deadline=None)
@given(LIFETIMES, st.floats(0, 0.5), st.floats(0, 1))
def test_the_published_token_is_never_expired(lifetime, latency, jitter):
    simulation = Simulation(lifetime, latency, jitter=lambda: jitter)
    simulation.run(20 * lifetime)
    assert len(simulation.published) >= 20
    assert simulation.gaps() == []
    assert simulation.clock.now() < simulation.published[-1][1].expires_at


@settings(deadline=None)
@given(LIFETIMES, st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.1))
def test_an_outage_shorter_than_the_margin_goes_unnoticed(lifetime, begins, jitter, latency):
    outage = 0.8 * refresh_margin(lifetime) - latency
    begins = 1000 + 3 * lifetime + begins * lifetime

    def fails(now):
        if begins <= now < begins + outage:
            raise NetworkError("down", fault=NetworkFault.CONNECTION)

    simulation = Simulation(lifetime, latency, fails, jitter=lambda: jitter)
    simulation.run(8 * lifetime)
    assert simulation.gaps() == []


@settings(deadline=None)
@given(LIFETIMES, st.floats(1, 5), st.floats(0, 1))
def test_recovery_comes_within_one_step_of_the_backoff(lifetime, outage, jitter):
    ends = 1000 + outage * lifetime

    def fails(now):
        if now < ends:
            raise NetworkError("down", fault=NetworkFault.CONNECTION)

    simulation = Simulation(lifetime, 0, fails, jitter=lambda: jitter)
    simulation.run((outage + 2) * lifetime + 120)
    recovered = simulation.published[0][0] - ends
    assert recovered <= min(BACKOFF.longest, 2 + outage * lifetime)


def test_requests_are_few():
    """A token of an hour is asked for twice an hour at most."""
    simulation = Simulation(3600)
    simulation.run(24 * 3600)
    assert simulation.credentials.count <= 36


def test_what_the_log_says_of_a_failure(caplog):
    caplog.set_level(logging.INFO)

    def fails(now):
        if 1050 <= now < 1200:
            raise TokenError("oauth2.example answered 503", reason=of_status(503), status=503)

    simulation = Simulation(60, 0, fails)
    simulation.run(300)
    lines = [record.message for record in caplog.records]
    assert lines[0] == "account my-google: a token was acquired, it is valid for 60 s"
    assert [line for line in lines if "a token was acquired" not in line] == [
        "account my-google: no new token: oauth2.example answered 503; the old one is good for "
        "another 32 s; since 2026-01-01T00:17:37+00:00, next try in 0.9 s",
        "account my-google: no new token, still: oauth2.example answered 503; the old one expired "
        "1 s ago and Google refuses it; since 2026-01-01T00:17:37+00:00 (32 s), next try in 4.9 s",
        "account my-google: a new token, recovered after 3 min",
    ]
    assert "token-1" not in caplog.text


def test_a_failure_that_repeats_is_told_every_ten_minutes(caplog):
    def fails(now):
        raise CredentialError(
            "ServiceAccountFile /x: there is no such file", reason=CredentialReason.MISSING_FILE
        )

    simulation = Simulation(60, 0, fails)
    simulation.run(3600)
    told = [r for r in caplog.records if "there is no such file" in r.message]
    assert 6 <= len(told) <= 7
    assert "there is no token yet" in told[0].message


def test_credentials_are_loaded_again_until_they_work():
    clock = FakeClock()
    schedule = FakeSchedule(clock)
    published = []

    def load(_):
        if clock.now() < 1500:
            raise CredentialError("no such file", reason=CredentialReason.MISSING_FILE)
        return Identity("user", Credentials(clock, 3600))

    TokenRefresher(
        [account()],
        load=load,
        endpoint=None,
        on_token=lambda *_: published.append(clock.now()),
        schedule=schedule,
        clock=clock,
        timeout=60,
    ).start()
    schedule.run_until(2000)
    assert 1500 <= published[0] <= 1560


def test_the_wall_clock_may_jump():
    simulation = Simulation(60)
    for hours in (1, -1, 24, -365 * 24):
        simulation.run(100)
        simulation.clock.wall += timedelta(hours=hours)
    simulation.run(100)
    assert simulation.gaps() == []


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("hours", [1, -1, 24, -365 * 24])
def test_the_wall_clock_may_jump_while_a_token_is_acquired(hours, noted):
    """Before google-auth has noted on it when the token ends, or between that and our look."""
    simulation = Simulation(60)
    refresh = simulation.credentials.refresh

    def jump(_endpoint):
        if noted:
            refresh(_endpoint)
        simulation.clock.wall += timedelta(hours=hours)
        if not noted:
            refresh(_endpoint)

    simulation.run(100)
    simulation.credentials.refresh = jump
    simulation.run(1000)
    assert simulation.gaps() == []
    assert simulation.clock.now() < simulation.published[-1][1].expires_at
    assert {round(token.lifetime) for _, token in simulation.published} == {60}


def test_the_machine_may_sleep():
    """After a sleep longer than a token's life, the next look renews it."""
    simulation = Simulation(60)
    simulation.run(100)
    simulation.clock.time += 8 * 3600
    woke = simulation.clock.now()
    simulation.run(1)
    assert simulation.published[-1][0] == woke


@pytest.mark.parametrize(
    "error", [KeyError("secret-1"), RecursionError("secret-1"), ValueError("secret-1")]
)
def test_an_unexpected_error_is_a_failure_like_others(caplog, error):
    def fails(now):
        if now < 1010:
            raise error

    simulation = Simulation(60, 0, fails)
    simulation.run(30)
    assert len(simulation.published) == 1
    assert f"unexpected {type(error).__name__} while refreshing" in caplog.text
    assert "secret-1" not in caplog.text


def test_tries_that_hang_are_not_rarer_than_one_a_minute():
    """The time until a hanging request is given up counts as waiting."""
    tried = []

    def fails(now):
        tried.append(now - 60)
        raise NetworkError("no answer", fault=NetworkFault.TIMEOUT)

    simulation = Simulation(60, 60, fails)
    simulation.run(3600)
    assert max(later - earlier for earlier, later in pairwise(tried)) <= 61.5


@given(st.floats(60, 3600), st.floats(0, 1))
def test_a_metadata_server_that_repeats_itself_is_not_hammered(lifetime, jitter):
    """It hands out the same token until shortly before its end."""
    clock = FakeClock()
    held = min(300, lifetime / 10)
    server = {"token": "", "ends": 0.0}

    class Metadata:
        token, expiry, asked = "", None, 0

        def refresh(self, endpoint):
            self.asked += 1
            if clock.now() > server["ends"] - held:
                server["token"], server["ends"] = f"token-{clock.now()}", clock.now() + lifetime
            self.token = server["token"]
            left = timedelta(seconds=server["ends"] - clock.now())
            self.expiry = (clock.utc() + left).replace(tzinfo=None)

    credentials = Metadata()
    schedule = FakeSchedule(clock)
    published = []
    TokenRefresher(
        [account()],
        load=lambda _: Identity("metadata server", credentials),
        endpoint=None,
        on_token=lambda *given: published.append((clock.now(), given[-1])),
        schedule=schedule,
        clock=clock,
        timeout=60,
        jitter=lambda: jitter,
    ).start()
    schedule.run_until(clock.now() + 20 * lifetime)
    assert credentials.asked <= 6 * len(published)
    assert len(published) <= 25, "the same token is not published again"
    for (_, token), (when, _) in pairwise(published):
        assert when < token.expires_at


def test_a_token_that_is_dead_on_arrival_is_not_published():
    simulation = Simulation(-5)
    simulation.run(10)
    assert simulation.published == []


# -- Real time --------------------------------------------------------------------------------


class Slow:
    """Credentials whose refresh takes as long as the test says."""

    def __init__(self, release: threading.Event | None = None, seconds: float = 0) -> None:
        self.release, self.seconds = release, seconds
        self.calls = 0
        self.token, self.expiry = "t", None

    def refresh(self, endpoint) -> None:
        self.calls += 1
        time.sleep(self.seconds)
        if self.release is not None:
            self.release.wait()
        self.expiry = (SystemClock().utc() + timedelta(hours=1)).replace(tzinfo=None)


@pytest.fixture
def keep():
    """Starts a refresher over credentials by account name; gives the names published so far."""
    schedules = []

    def start(credentials, timeout=60.0):
        clock = SystemClock()
        schedule = Scheduler(clock)
        schedules.append(schedule)
        published: list[str] = []
        TokenRefresher(
            [account(name) for name in credentials],
            load=lambda account: Identity("user", credentials[account.name]),
            endpoint=None,
            on_token=lambda account, *_: published.append(account.name),
            schedule=schedule,
            clock=clock,
            timeout=timeout,
        ).start()
        schedule.start()
        return published

    yield start
    for schedule in schedules:
        schedule.stop()


def test_an_account_is_refreshed_once_at_a_time():
    release = threading.Event()
    credentials = Slow(release)
    clock = SystemClock()
    schedule = Scheduler(clock)
    refresher = TokenRefresher(
        [account()],
        load=lambda _: Identity("user", credentials),
        endpoint=None,
        on_token=lambda *_: None,
        schedule=schedule,
        clock=clock,
        timeout=60,
    )
    for _ in range(5):
        refresher.start()
    schedule.start()
    wait_until(lambda: credentials.calls)
    time.sleep(0.2)
    release.set()
    schedule.stop()
    assert credentials.calls == 1


def test_hanging_accounts_delay_no_other(keep):
    """More accounts hang than there are workers; the healthy ones stand behind them."""
    release = threading.Event()
    hanging = {f"hanging-{i}": Slow(release) for i in range(40)}
    healthy = {f"healthy-{i}": Slow() for i in range(100)}
    published = keep({**hanging, **healthy})
    wait_until(lambda: len(published) == len(healthy), 15)
    release.set()


def test_a_refresh_that_never_ends_is_given_up_and_tried_again(keep, caplog):
    release = threading.Event()
    credentials = Slow(release)
    published = keep({"a": credentials}, timeout=-4.5)  # 5 s of grace come on top
    wait_until(lambda: credentials.calls >= 2, 10)
    assert "the refresh does not end, given up after 0.5 s" in caplog.text
    release.set()
    wait_until(lambda: published, 10)
