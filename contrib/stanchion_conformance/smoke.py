"""A quick look: a claim or two for each verb, and some stories."""

from collections.abc import Mapping, Sequence
from typing import Final

from stanchion_conformance.applying import Applying
from stanchion_conformance.balancing import Balancing
from stanchion_conformance.claiming import Claiming
from stanchion_conformance.filtering import Filtering
from stanchion_conformance.ground import Ground
from stanchion_conformance.guarding import Guarding
from stanchion_conformance.inserting import Inserting
from stanchion_conformance.reading import Reading
from stanchion_conformance.settings import Settings
from stanchion_conformance.stories import Stories
from stanchion_conformance.sweeping import Sweeping
from stanchion_conformance.tagging import Tagging
from stanchion_conformance.waiting import Waiting
from stanchion_conformance.walking import Walking
from stanchion_conformance.watching import Watching


class Smoke(Watching):
    """What shows within a second or two that each verb arrives.

    For another way to verbs that passed all claims elsewhere, such as their async form, and for a quick look at a
    backend in the making. It is no level: its claims are of other levels.
    """

    STORIES = 5


CLAIMS: Final[Mapping[type[Ground], Sequence[str]]] = {
    Inserting: (
        "test_insert_creates_a_job_as_it_was_given",
        "test_insert_answers_a_taken_id_with_the_job_that_has_it",
    ),
    Claiming: (
        "test_claim_makes_jobs_running",
        "test_claim_serves_queues_in_the_order_given",
        "test_claim_repeated_within_the_lease_answers_the_same",
    ),
    Guarding: ("test_apply_makes_a_change_whose_guards_all_hold",),
    Applying: ("test_a_refusal_shows_head_and_history",),
    Walking: ("test_an_accepted_change_does_what_the_model_says",),
    Sweeping: ("test_due_changes_nothing",),
    Balancing: ("test_a_call_counts_each_of_its_jobs_once",),
    Reading: (
        "test_get_answers_in_the_order_asked",
        "test_count_counts_every_state_of_every_queue",
        "test_a_page_is_at_most_a_batch",
        "test_now_is_the_injected_clock",
        "test_check_finds_nothing_wrong_with_a_sound_store",
    ),
    Tagging: ("test_jobs_are_found_by_each_of_their_tags",),
    Filtering: ("test_newest_is_the_reverse_of_priorities_and_places",),
    Waiting: (
        "test_wait_ends_without_a_wake_at_its_timeout",
        "test_an_insert_wakes",
        "test_close_ends_a_wait",
        "test_a_closed_backend_may_be_closed_again_and_not_be_used",
    ),
    Settings: (
        "test_configure_answers_the_settings_before_and_after",
        "test_an_absent_queue_is_forgotten_already",
        "test_a_queue_can_be_paused_and_resumed",
    ),
    Stories: ("test_every_story_goes_as_the_oracle_says",),
}
"""The claims that it has, by the group in which they are written."""

for _group, _names in CLAIMS.items():
    for _name in _names:
        setattr(Smoke, _name, getattr(_group, _name))
