"""The pytest plugin: which application is under test, its clock, its options, and what it costs those without any."""

import subprocess
import sys

import pytest

import stanchion_testing.kit  # noqa: F401  # so that runs inside this one need not import it each

SHOP = """
from stanchion import Stanchion

app = Stanchion("redis://127.0.0.1:1", plugins=())

@app.task(queue="mail")
def welcome(address: str) -> int:
    if "@" not in address:
        raise ValueError(f"{address} is no address")
    return len(address)
"""

SETTINGS = """
[pytest]
pythonpath = .
filterwarnings = error
stanchion_app = shop:app
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """A project with an application, for runs of pytest inside this one."""
    monkeypatch.delenv("STANCHION_BACKEND", raising=False)
    pytester.makepyfile(shop=SHOP)
    pytester.makeini(SETTINGS)
    return pytester


def test_the_application_is_the_one_in_the_settings(project):
    """The very object, with the tasks that were imported from it."""
    project.makepyfile(
        """
        from shop import app, welcome

        def test_it_is_welcomed(stanchion_kit):
            assert stanchion_kit.app is app
            job = welcome.enqueue("ada@example.org")
            stanchion_kit.assert_enqueued(welcome, args={"address": "ada@example.org"})
            stanchion_kit.drain()
            assert job.result() == 15

        def test_each_test_has_a_store_of_its_own(stanchion_kit):
            stanchion_kit.refute_enqueued(welcome)
        """
    )

    project.runpytest_inprocess().assert_outcomes(passed=2)


def test_without_a_setting_it_is_a_new_one(project):
    """For tasks that a test registers itself."""
    project.makeini("[pytest]\nfilterwarnings = error")
    project.makepyfile(
        """
        def test_doubling(stanchion_kit):
            assert not stanchion_kit.app.tasks
            job = stanchion_kit.app.task(name="double")(lambda number: 2 * number).enqueue(21)
            assert stanchion_kit.run_one().result() == 42
        """
    )

    project.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_fixture_can_give_another(project):
    """It is preferred to the setting."""
    project.makepyfile(
        """
        import pytest
        from stanchion import Stanchion

        other = Stanchion("memory://", plugins=())

        @pytest.fixture
        def stanchion_app_under_test():
            return other

        def test_it(stanchion_kit):
            assert stanchion_kit.app is other
        """
    )

    project.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_fixture_can_give_another_clock(project):
    """For tests that want the same instant each time."""
    project.makepyfile(
        """
        import pytest
        from stanchion_testing.clock import START, VirtualClock

        @pytest.fixture
        def stanchion_clock():
            return VirtualClock(START)

        def test_it(stanchion_kit, stanchion_clock):
            assert stanchion_kit.clock is stanchion_clock
            assert stanchion_kit.clock.now() == START
        """
    )

    project.runpytest_inprocess().assert_outcomes(passed=1)


def test_all_tests_can_have_it(project):
    """So that none reaches the backend that the application is configured for."""
    project.makeini(f"{SETTINGS}usefixtures = stanchion_kit")
    project.makepyfile(
        """
        from shop import welcome

        def test_it():
            assert welcome.enqueue("ada@example.org").refresh().state == "queued"
        """
    )

    project.runpytest_inprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("shop", "invalid application 'shop': use <module>:<attribute>"),
        ("shop:other", "'shop:other' is not a Stanchion application"),
        ("shops:app", "cannot find module 'shops' on the import path; pythonpath = * adds a directory"),
    ],
)
def test_an_application_that_cannot_be_found_is_an_error_of_the_settings(project, where, words):
    """It names the setting."""
    project.makeini(SETTINGS.replace("shop:app", where))
    project.makepyfile("def test_it(stanchion_kit): pass")
    result = project.runpytest_inprocess()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*stanchion_app in pytest's configuration: {words}*"])


def test_a_failure_shows_the_line_of_the_test_and_of_the_handler(project):
    """And none of what lies between them."""
    project.makepyfile(
        """
        from shop import welcome

        def test_it(stanchion_kit):
            welcome.enqueue("ada")
            stanchion_kit.drain()
        """
    )
    result = project.runpytest_inprocess()

    result.stdout.fnmatch_lines(
        [
            ">       stanchion_kit.drain()",
            '>           raise ValueError(f"{address} is no address")',
            "E           ValueError: ada is no address",
        ]
    )
    result.stdout.no_fnmatch_line("*kit.py*")


def test_a_failed_assertion_shows_the_line_of_the_test(project):
    """And what there is instead."""
    project.makepyfile(
        """
        from shop import welcome

        def test_it(stanchion_kit):
            welcome.enqueue("ada")
            stanchion_kit.assert_enqueued(welcome, args={"address": "bob"})
        """
    )
    result = project.runpytest_inprocess()

    result.stdout.fnmatch_lines(
        [
            '>       stanchion_kit.assert_enqueued(welcome, args={"address": "bob"})',
            "E       AssertionError: no job of welcome enqueued with *",
            "E         welcome(address='ada') in mail, queued: address is 'ada', not 'bob'",
        ]
    )
    result.stdout.no_fnmatch_line("*kit.py*")


def test_every_job_runs_twice_if_the_command_line_says_so(project):
    """Which finds a handler that must not."""
    project.makepyfile(
        """
        from stanchion import Stanchion

        def test_it(stanchion_kit):
            charged = []
            charge = stanchion_kit.app.task(name="charge")(charged.append)
            charge.enqueue(5)
            stanchion_kit.drain()
            assert charged == [5]
        """
    )

    project.runpytest_inprocess().assert_outcomes(passed=1)
    project.runpytest_inprocess("--stanchion-run-twice").assert_outcomes(failed=1)


def test_those_without_it_pay_nothing(pytester):
    """It is loaded in every run of pytest, and imports nothing of Stanchion before a test asks for it."""
    pytester.makepyfile(
        """
        import sys

        def test_it(request):
            assert request.config.pluginmanager.has_plugin("stanchion")
            assert not [name for name in sys.modules if name.partition(".")[0] in ("stanchion", "msgspec")]
        """
    )
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=False)

    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr
