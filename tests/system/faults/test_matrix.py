"""The rows of the fault matrix, each with the tests that prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_TESTS: Final = Path(__file__).parents[2]

# What fails, and where it is shown that this costs nothing but time.
_MATRIX: Final = {
    "the server ends and is started again": (
        "system/faults/test_crashes.py::test_a_server_that_is_started_again",
    ),
    "the server is killed": (
        "system/faults/test_crashes.py::test_a_server_that_is_started_again",
        "worker/test_reconnect.py::test_a_server_that_crashes_loses_nothing",
    ),
    "it is killed with delayed jobs": (
        "system/faults/test_crashes.py::test_a_server_that_dies_with_delayed_jobs",
    ),
    "it is away for longer than a lease": (
        "system/faults/test_crashes.py::test_a_server_that_is_away_for_longer_than_a_lease",
        "worker/test_reconnect.py::test_leases_are_renewed_before_any_claim",
        "worker/test_takeover.py::test_a_worker_never_takes_its_own_running_job",
    ),
    "there is no server yet": (
        "system/faults/test_crashes.py::test_a_server_that_is_not_there_yet",
        "broker/test_credentials.py::test_a_worker_waits_for_its_server",
    ),
    "it hangs": (
        "worker/test_reconnect.py::test_a_server_that_hangs_is_not_waited_for_forever",
    ),
    "LOADING": ("system/faults/test_crashes.py::test_a_server_that_is_loading",),
    "READONLY": (
        "system/faults/test_refusals.py::test_a_server_without_writes",
        "worker/test_reconnect.py::test_a_failover_is_followed",
    ),
    "NOREPLICAS": ("system/faults/test_refusals.py::test_a_server_without_writes",),
    "MISCONF": ("system/faults/test_refusals.py::test_a_server_that_cannot_save",),
    "BUSY": ("system/faults/test_refusals.py::test_a_server_that_is_busy",),
    "OOM": (
        "system/faults/test_refusals.py::test_a_server_that_is_full",
        "system/faults/test_fences.py::test_a_batch_with_refused_items",
        "worker/test_full_server.py::test_producers_get_queue_full",
        "worker/test_full_server.py::test_workers_drain_on",
        "worker/test_full_server.py::test_refused_dead_letter_stays_in_the_stream",
        "worker/test_full_server.py::test_a_retry_needs_no_room",
        "worker/test_full_server.py::test_refused_dead_letters_take_no_slot",
        "worker/test_full_server.py::test_due_jobs_need_no_room",
    ),
    "NOGROUP, FLUSHALL": (
        "system/faults/test_refusals.py::test_a_server_that_forgot_everything",
        "worker/test_lost_group.py::test_a_waiting_worker_goes_on",
        "worker/test_lost_group.py::test_a_busy_worker_goes_on",
        "worker/test_lost_group.py::test_a_flush_under_load_costs_only_what_was_there",
    ),
    "NOSCRIPT": ("worker/test_lost_group.py::test_a_server_may_forget_the_scripts",),
    "maxclients": (
        "system/faults/test_refusals.py::test_a_server_with_too_many_clients",
    ),
    "CLIENT KILL": (
        "system/faults/test_links.py::test_connections_that_are_killed",
        "worker/test_reconnect.py::test_killed_connections_cost_nothing",
    ),
    "CLIENT PAUSE": ("system/faults/test_links.py::test_clients_that_are_paused",),
    "half an answer": (
        "system/faults/test_links.py::test_broken_off_answer_loses_nothing",
    ),
    "no answer on an open connection": (
        "system/faults/test_links.py::test_an_answer_that_never_comes",
        "worker/test_orphaned_entries.py::test_a_read_that_only_the_server_believes_in_is_made_good",
    ),
    "a kilobyte a second": (
        "system/faults/test_links.py::test_a_link_of_a_kilobyte_a_second",
        "system/faults/test_links.py::test_a_link_on_which_nothing_gets_through",
    ),
    "a lost answer: enqueue": (
        "api/test_outcome_unknown.py::test_an_enqueue_without_an_answer_says_so",
        "api/test_outcome_unknown.py::test_keyed_enqueue_is_repeated",
        "api/test_outcome_unknown.py::test_a_batch_says_what_is_certain",
    ),
    "a lost answer: read": (
        "worker/test_orphaned_entries.py::test_a_lost_read_is_made_good_uncounted",
    ),
    "a lost answer: acknowledgement": (
        "api/test_outcome_unknown.py::test_a_lost_acknowledgement_is_repeated",
    ),
    "a lost answer: retry": (
        "api/test_outcome_unknown.py::test_a_lost_retry_is_one_retry",
    ),
    "a lost answer: dead letter": (
        "api/test_outcome_unknown.py::test_a_lost_dead_letter_is_one_dead_letter",
    ),
    "a lost answer: release": (
        "system/faults/test_lost_answers.py::test_a_lost_release_is_made_once",
    ),
    "a lost answer: takeover": (
        "worker/test_orphaned_entries.py::test_a_lost_takeover_is_made_good",
    ),
    "a lost answer: promotion": (
        "system/faults/test_lost_answers.py::test_a_lost_promotion_is_made_once",
    ),
    "a lost answer: renewal": (
        "system/faults/test_lost_answers.py::test_a_lost_renewal_is_repeated",
    ),
    "a lost answer: redrive": (
        "system/faults/test_lost_answers.py::test_a_lost_redrive_is_made_once",
    ),
    "a lost answer: what it did": (
        "system/faults/test_lost_answers.py::test_a_lost_settle_is_reported_as_what_it_did",
        "system/faults/test_lost_answers.py::test_a_lost_dead_letter_is_announced",
        "system/faults/test_lost_answers.py::test_settle_after_a_takeover_reports_lost",
        "system/faults/test_lost_answers.py::test_a_receipt_is_the_consumers_own",
    ),
    "a lost answer: set up": (
        "system/faults/test_lost_answers.py::test_a_lost_set_up_is_repeated",
    ),
    "wrong password": (
        "broker/test_credentials.py::test_a_wrong_password_ends_it",
        "broker/test_credentials.py::test_a_password_that_changes_ends_the_worker",
    ),
    "NOPERM": (
        "system/faults/test_fatal.py::test_a_right_that_is_taken_away",
        "system/faults/test_fatal.py::test_a_right_to_delay_that_is_taken_away",
        "broker/test_credentials.py::test_a_missing_right_ends_the_worker",
    ),
    "WRONGTYPE": (
        "broker/test_credentials.py::test_a_key_of_another_type_is_refused",
        "broker/test_credentials.py::test_a_key_that_changes_its_type_ends_the_worker",
        "system/faults/test_fatal.py::test_a_foreign_key_for_dead_letters_ends_the_worker",
    ),
    "a second group": (
        "system/faults/test_fences.py::test_a_second_group_that_comes_and_goes",
        "worker/test_one_group.py::test_a_group_that_appears_later_loses_nothing",
    ),
    "more held jobs than one page": (
        "system/faults/test_fences.py::test_the_first_and_the_last_of_many_held",
        "system/faults/test_fences.py::test_the_leases_of_many_held",
    ),
    "an acknowledgement that is too late": (
        "system/faults/test_fences.py::test_a_stale_ack_after_release_and_return",
        "worker/test_leases.py::test_a_zombie_settles_nothing",
        "worker/test_leases.py::test_the_count_fences_where_the_owner_cannot",
    ),
    "one line when it begins, one when it ends": (
        "worker/test_reconnect.py::test_an_outage_is_one_line_in_the_log",
        "worker/test_reconnect.py::test_cancelled_drain_ends_its_outage",
        "worker/test_lost_group.py::test_late_group_ends_its_outage",
    ),
    "a storm of requests": (
        "system/faults/test_storms.py::test_an_idle_worker_is_quiet",
        "system/faults/test_storms.py::test_a_server_that_is_gone",
        "system/faults/test_storms.py::test_a_server_that_refuses",
        "system/faults/test_storms.py::test_a_group_that_cannot_be_made",
        "worker/test_reconnect.py::test_a_refusal_is_not_asked_for_again_and_again",
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
