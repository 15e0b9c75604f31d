"""The rows of the fault matrix, each with the tests that prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_TESTS: Final = Path(__file__).parents[1]

# What fails, and where it is shown that this costs nothing but time.
_MATRIX: Final = {
    "the server ends and is started again": (
        "faults/test_crashes.py::test_a_server_that_is_started_again",
    ),
    "the server is killed": (
        "faults/test_crashes.py::test_a_server_that_is_started_again",
        "runtime/test_reconnect.py::test_a_server_that_crashes_loses_nothing",
    ),
    "it is killed with delayed jobs": (
        "faults/test_crashes.py::test_a_server_that_dies_with_delayed_jobs",
    ),
    "it is away for longer than a lease": (
        "faults/test_crashes.py::test_a_server_that_is_away_for_longer_than_a_lease",
        "runtime/test_reconnect.py::test_leases_are_renewed_before_anybody_sweeps",
        "runtime/test_takeover.py::test_a_worker_never_takes_its_own_running_job",
    ),
    "there is no server yet": (
        "faults/test_crashes.py::test_a_server_that_is_not_there_yet",
        "runtime/test_credentials.py::test_a_worker_waits_for_its_server",
    ),
    "it hangs": (
        "runtime/test_reconnect.py::test_a_server_that_hangs_is_not_waited_for_forever",
    ),
    "LOADING": ("faults/test_crashes.py::test_a_server_that_is_loading",),
    "READONLY": (
        "faults/test_refusals.py::test_a_server_without_writes",
        "runtime/test_reconnect.py::test_a_failover_is_followed",
    ),
    "NOREPLICAS": ("faults/test_refusals.py::test_a_server_without_writes",),
    "MISCONF": ("faults/test_refusals.py::test_a_server_that_cannot_save",),
    "BUSY": ("faults/test_refusals.py::test_a_server_that_is_busy",),
    "OOM": (
        "faults/test_refusals.py::test_a_server_that_is_full",
        "faults/test_fences.py::test_a_batch_with_refused_items",
        "runtime/test_full_server.py::test_producers_are_told",
        "runtime/test_full_server.py::test_workers_drain_on",
        "runtime/test_full_server.py::test_what_cannot_be_moved_stays",
        "runtime/test_full_server.py::test_a_retry_needs_no_room",
        "runtime/test_full_server.py::test_refused_dead_letters_take_no_slot",
        "runtime/test_full_server.py::test_due_jobs_need_no_room",
    ),
    "NOGROUP, FLUSHALL": (
        "faults/test_refusals.py::test_a_server_that_forgot_everything",
        "runtime/test_lost_group.py::test_a_waiting_worker_goes_on",
        "runtime/test_lost_group.py::test_a_busy_worker_goes_on",
        "runtime/test_lost_group.py::test_a_flush_under_load_costs_only_what_was_there",
    ),
    "NOSCRIPT": ("runtime/test_lost_group.py::test_a_server_may_forget_the_scripts",),
    "maxclients": ("faults/test_refusals.py::test_a_server_with_too_many_clients",),
    "CLIENT KILL": (
        "faults/test_links.py::test_connections_that_are_killed",
        "runtime/test_reconnect.py::test_killed_connections_cost_nothing",
    ),
    "CLIENT PAUSE": ("faults/test_links.py::test_clients_that_are_paused",),
    "half an answer": ("faults/test_links.py::test_half_an_answer",),
    "no answer on an open connection": (
        "faults/test_links.py::test_an_answer_that_never_comes",
        "runtime/test_stranded.py::test_a_read_that_only_the_server_believes_in_is_made_good",
    ),
    "a kilobyte a second": (
        "faults/test_links.py::test_a_link_of_a_kilobyte_a_second",
        "faults/test_links.py::test_a_link_on_which_nothing_gets_through",
    ),
    "a lost answer: enqueue": (
        "runtime/test_outcome_unknown.py::test_an_enqueue_without_an_answer_says_so",
        "runtime/test_outcome_unknown.py::test_with_a_key_it_is_repeated",
        "runtime/test_outcome_unknown.py::test_a_batch_says_what_is_certain",
    ),
    "a lost answer: read": (
        "runtime/test_stranded.py::test_a_lost_read_is_made_good_uncounted",
    ),
    "a lost answer: acknowledgement": (
        "runtime/test_outcome_unknown.py::test_a_lost_acknowledgement_is_repeated",
    ),
    "a lost answer: retry": (
        "runtime/test_outcome_unknown.py::test_a_lost_retry_is_one_retry",
    ),
    "a lost answer: dead letter": (
        "runtime/test_outcome_unknown.py::test_a_lost_dead_letter_is_one_dead_letter",
    ),
    "a lost answer: release": (
        "faults/test_lost_answers.py::test_a_lost_release_is_made_once",
    ),
    "a lost answer: takeover": (
        "runtime/test_stranded.py::test_a_lost_takeover_is_made_good",
    ),
    "a lost answer: promotion": (
        "faults/test_lost_answers.py::test_a_lost_promotion_is_made_once",
    ),
    "a lost answer: renewal": (
        "faults/test_lost_answers.py::test_a_lost_renewal_is_repeated",
    ),
    "a lost answer: redrive": (
        "faults/test_lost_answers.py::test_a_lost_redrive_is_made_once",
    ),
    "a lost answer: what it did": (
        "faults/test_lost_answers.py::test_a_lost_settle_is_reported_as_what_it_did",
        "faults/test_lost_answers.py::test_a_lost_dead_letter_is_announced",
        "faults/test_lost_answers.py::test_what_a_thief_settled_is_not_reported_as_done",
        "faults/test_lost_answers.py::test_a_receipt_is_the_consumers_own",
    ),
    "a lost answer: set up": (
        "faults/test_lost_answers.py::test_a_lost_set_up_is_repeated",
    ),
    "wrong password": (
        "runtime/test_credentials.py::test_a_wrong_password_ends_it",
        "runtime/test_credentials.py::test_a_password_that_changes_ends_the_worker",
    ),
    "NOPERM": (
        "faults/test_fatal.py::test_a_right_that_is_taken_away",
        "faults/test_fatal.py::test_a_right_to_delay_that_is_taken_away",
        "runtime/test_credentials.py::test_a_missing_right_ends_the_worker",
    ),
    "WRONGTYPE": (
        "runtime/test_credentials.py::test_a_key_of_another_type_is_refused",
        "runtime/test_credentials.py::test_a_key_that_changes_its_type_ends_the_worker",
        "faults/test_fatal.py::test_a_foreign_key_for_dead_letters_ends_the_worker",
    ),
    "a second group": (
        "faults/test_fences.py::test_a_second_group_that_comes_and_goes",
        "runtime/test_one_group.py::test_a_group_that_appears_later_loses_nothing",
    ),
    "more held jobs than one page": (
        "faults/test_fences.py::test_the_first_and_the_last_of_many_held",
        "faults/test_fences.py::test_the_leases_of_many_held",
    ),
    "an acknowledgement that is too late": (
        "faults/test_fences.py::test_a_stale_ack_after_release_and_return",
        "runtime/test_leases.py::test_a_zombie_settles_nothing",
        "runtime/test_leases.py::test_the_count_fences_where_the_owner_cannot",
    ),
    "one line when it begins, one when it ends": (
        "runtime/test_reconnect.py::test_an_outage_is_one_line_in_the_log",
        "runtime/test_reconnect.py::test_a_drain_that_is_given_up_is_no_outage_for_ever",
        "runtime/test_lost_group.py::test_a_group_that_could_not_be_made_at_first_is_no_outage_for_ever",
    ),
    "a storm of requests": (
        "faults/test_storms.py::test_an_idle_worker_is_quiet",
        "faults/test_storms.py::test_a_server_that_is_gone",
        "faults/test_storms.py::test_a_server_that_refuses",
        "faults/test_storms.py::test_a_group_that_cannot_be_made",
        "runtime/test_reconnect.py::test_a_refusal_is_not_asked_for_again_and_again",
    ),
}


def test_every_proof_exists() -> None:
    """A test that the matrix names is in the file that it names."""
    for fault, proofs in _MATRIX.items():
        for proof in proofs:
            path, test = proof.split("::")
            source = (_TESTS / path).read_text("utf-8")
            assert f"def {test}(" in source, f"{fault}: {proof}"


def test_every_test_is_a_proof() -> None:
    """Each test of this folder stands in a row."""
    named = {proof for proofs in _MATRIX.values() for proof in proofs}
    for path in sorted((_TESTS / "faults").glob("test_*.py")):
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("async def test_"):
                test = line.removeprefix("async def ").split("(")[0]
                assert f"faults/{path.name}::{test}" in named
