"""The checker can fail: each way to break the word is found, and a right history passes."""

import copy

import pytest

from chaos.checker import Promise, check, outages

USERS = {"u:ann": ["ann.0", "ann.1"], "u:bob": ["bob.0", "bob.1"]}
QUEUE_OF = {"u:ann": "0", "u:bob": "1"}


class Story:
    """A history written by hand; each sentence comes a millisecond after the one before."""

    def __init__(self):
        self.events, self.now, self.number = [], 0.0, 0
        for user, sessions in USERS.items():
            for session in sessions:
                self.note("session", s=session, user=user[2:], targets=[user])
        for sessions in USERS.values():
            for session in sessions:
                self.opens(session, 1, asked=False, resumed="none")

    def note(self, kind, **fields):
        self.now += 0.001
        self.events.append({"t": self.now, "e": kind, **fields})

    def opens(self, session, connection, asked=True, resumed="full", **pos):
        pos = {"0": "0.0", "1": "0.0", **{queue[1:]: at for queue, at in pos.items()}}
        self.note(
            "open", s=session, c=connection, node="n0", asked=asked, resumed=resumed, epoch="e", pos=pos
        )

    def push(self, *targets, at=None, outcome="accepted"):
        """at: its positions as answered."""
        self.number += 1
        self.note("push", n=self.number, id=f"m{self.number}", targets=list(targets))
        if outcome == "accepted":
            self.note("answer", n=self.number, node="n0", status=202, pos=at, code=None)
        self.note("pushed", n=self.number, outcome=outcome)
        return self.number

    def sees(self, session, number, pos, connection=1, shown=True):
        self.note("msg", s=session, c=connection, n=number, id=f"m{number}", pos=pos, shown=shown)

    def gap(self, session, queue, start, end, connection=1):
        ends = {} if queue == "*" else {"from": start, "to": end}
        self.note("gap", s=session, c=connection, q=queue, why="bus", **ends)

    def reach(self, session, pos, connection=1):
        self.note("pos", s=session, c=connection, pos={"0": pos})

    def message(self, position, *sessions, target="u:ann"):
        """Pushed, accepted and seen, by everybody or by these."""
        pos = f"{QUEUE_OF[target]}:{position}"
        number = self.push(target, at=[pos])
        for session in sessions or USERS[target]:
            self.sees(session, number, pos)
        return number

    def wrong(self, promise=None):
        return check(self.events, promise).wrong


@pytest.fixture
def story():
    return Story()


def test_a_right_history_passes_and_is_counted(story):
    story.message("1.0")
    story.message("1.1")
    story.message("1.0", target="u:bob")
    checker = check(story.events)
    assert checker.wrong == {}
    assert checker.count["pushed"] == checker.count["accepted"] == 3
    assert checker.count["received"] == 6
    assert "0 accepted and lost, 0 gaps not announced, 0 duplicates, 0 out of order" in checker.summary()


def test_an_accepted_message_that_a_session_lacks_is_lost(story):
    story.message("1.0", "ann.0")
    assert story.wrong() == {"accepted and lost": 1}


def test_an_accepted_message_that_nobody_has_is_lost_to_each(story):
    story.push("u:ann", at=["0:1.0"])
    assert story.wrong() == {"accepted and lost": 2}


def test_one_that_was_passed_over_is_also_a_gap_that_was_not_announced(story):
    story.message("1.0", "ann.0")
    story.message("2.0")
    assert story.wrong() == {"accepted and lost": 1, "gaps not announced": 1}


def test_positions_alone_pass_over_a_message_too(story):
    story.message("1.0", "ann.0")
    story.reach("ann.1", "2.0")
    assert story.wrong() == {"accepted and lost": 1, "gaps not announced": 1}


def test_a_push_without_an_answer_may_be_nowhere(story):
    story.push("u:ann", outcome="unknown")
    assert story.wrong() == {}


def test_a_push_without_an_answer_that_one_session_has_must_not_be_passed_over_by_the_other(story):
    number = story.push("u:ann", outcome="unknown")
    story.sees("ann.0", number, "0:1.0")
    story.message("2.0")
    assert story.wrong() == {"gaps not announced": 1}


def test_a_push_to_two_users_without_an_answer_may_reach_one_of_them(story):
    number = story.push("u:ann", "u:bob", outcome="unknown")
    for session in USERS["u:ann"]:
        story.sees(session, number, "0:1.0")
    story.message("2.0")
    story.message("2.0", target="u:bob")
    assert story.wrong() == {}


def test_an_announced_gap_excuses_what_lies_in_it_where_the_engine_may(story):
    story.message("1.0", "ann.0")
    story.gap("ann.1", "0", "0.0", "1.0")
    story.message("2.0")
    assert story.wrong(Promise(gaps=True)) == {}
    assert story.wrong()["gaps that must not be"] == 1
    assert story.wrong()["accepted and lost"] == 1


def test_an_announced_gap_excuses_nothing_behind_it_nor_before_it(story):
    story.message("1.0", "ann.0")
    story.message("2.0", "ann.0")
    story.message("3.0", "ann.0")
    story.gap("ann.1", "0", "1.0", "2.0")
    story.message("4.0")
    assert story.wrong(Promise(gaps=True)) == {"accepted and lost": 2, "gaps not announced": 2}


def test_a_gap_of_all_queues_excuses_what_was_pushed_before_it(story):
    story.message("1.0", "ann.0")
    story.gap("ann.1", "*", None, None)
    story.message("2.0", "ann.0")
    assert story.wrong(Promise(gaps=True)) == {"accepted and lost": 1}


def test_a_resume_that_is_not_full_must_be_followed_by_a_gap(story):
    story.opens("ann.0", 2, resumed="none")
    assert story.wrong() == {"gaps not announced": 1}
    story.gap("ann.0", "*", None, None, connection=2)
    assert story.wrong(Promise(gaps=True)) == {}


def test_a_message_shown_twice_is_a_duplicate(story):
    number = story.message("1.0")
    story.opens("ann.0", 2)
    story.sees("ann.0", number, "0:1.0", connection=2)
    assert story.wrong()["duplicates"] == 1


def test_a_repeat_that_the_client_drops_is_none(story):
    number = story.message("1.0")
    story.opens("ann.0", 2)
    story.sees("ann.0", number, "0:1.0", connection=2, shown=False)
    checker = check(story.events)
    assert checker.wrong == {}
    assert checker.count["repeats dropped"] == 1
    assert checker.count["reconnects"] == 1


def test_messages_of_a_queue_in_another_order_are_found(story):
    first, second = story.push("u:ann", at=["0:1.0"]), story.push("u:ann", at=["0:2.0"])
    for session in USERS["u:ann"]:
        story.sees(session, second, "0:2.0")
        story.sees(session, first, "0:1.0")
    assert story.wrong()["out of order"] >= 2


def test_a_new_connection_does_not_excuse_another_order(story):
    first, second = story.push("u:ann", at=["0:1.0"]), story.push("u:ann", at=["0:2.0"])
    for session in USERS["u:ann"]:
        story.sees(session, second, "0:2.0")
        story.opens(session, 2)
        story.sees(session, first, "0:1.0", connection=2)
    assert story.wrong() == {"out of order": 2}


def test_a_message_behind_a_position_that_was_told_is_found(story):
    story.reach("ann.0", "5.0")
    story.message("1.0", "ann.0", "ann.1")
    assert story.wrong() == {"out of order": 1}


def test_another_place_on_another_node_is_found(story):
    number = story.push("u:ann", at=["0:1.0"])
    story.sees("ann.0", number, "0:1.0")
    story.sees("ann.1", number, "0:2.0")
    assert story.wrong() == {"out of order": 1}
    assert story.wrong(Promise(gaps=True)) == {}


def test_a_key_in_two_queues_is_found_unless_a_broker_may_fail_over(story):
    for pos in ("0:1.0", "1:1.0"):
        number = story.push("u:ann", at=[pos])
        for session in USERS["u:ann"]:
            story.sees(session, number, pos)
    assert story.wrong() == {"out of order": 1}
    assert story.wrong(Promise(failover=True)) == {}


def test_what_was_accepted_before_a_push_began_lies_before_it(story):
    first, second = story.push("u:ann", at=["0:2.0"]), story.push("u:ann", at=["0:1.0"])
    for session in USERS["u:ann"]:
        story.sees(session, second, "0:1.0")
        story.sees(session, first, "0:2.0")
    assert story.wrong() == {"out of order": 1}
    assert story.wrong(Promise(failover=True)) == {"out of order": 1}


def test_pushes_at_the_same_time_may_have_any_order(story):
    for number in (1, 2):
        story.note("push", n=number, id=f"m{number}", targets=["u:ann"])
    for number, pos in ((1, "0:2.0"), (2, "0:1.0")):
        story.note("answer", n=number, node="n0", status=202, pos=[pos], code=None)
        story.note("pushed", n=number, outcome="accepted")
    for session in USERS["u:ann"]:
        story.sees(session, 2, "0:1.0")
        story.sees(session, 1, "0:2.0")
    assert story.wrong() == {}


def test_a_message_for_somebody_else_is_found(story):
    number = story.message("1.0")
    story.sees("bob.0", number, "0:1.0")
    story.sees("bob.0", 99, "0:3.0")
    assert story.wrong() == {"foreign": 2}


def test_a_refused_push_and_a_wrong_close_are_found(story):
    story.push("u:ann", outcome="refused")
    story.note("close", s="ann.0", c=1, code=4002)
    assert story.wrong() == {"wrong answers": 1, "wrong closes": 1}


def test_an_outage_is_the_time_without_any_connection(story):
    def close(connection):
        story.note("close", s="ann.0", c=connection, code=1006)

    story.opens("ann.0", 2)
    close(1)
    assert outages(story.events)["ann.0"] == 0
    close(2)
    story.now += 3
    story.opens("ann.0", 3)
    assert outages(story.events)["ann.0"] == pytest.approx(3, abs=0.01)
    close(3)
    story.now += 5
    story.note("fault", what="parting")
    story.now += 9
    story.opens("ann.0", 4)
    assert outages(story.events)["ann.0"] == pytest.approx(5, abs=0.01)
    assert outages(story.events)["ann.1"] == 0


# A long history, broken at every place in turn.


def long_history():
    story = Story()
    for number in range(1, 30):
        story.message(f"{number}.0", target="u:ann" if number % 2 else "u:bob")
        if number % 10 == 0:
            story.opens("ann.0", number, _0=f"{number}.0")
            story.opens("ann.0", 1, _0=f"{number}.0")
    return story.events


HISTORY = long_history()
MESSAGES = [index for index, event in enumerate(HISTORY) if event["e"] == "msg"]


def test_the_long_history_is_right():
    assert check(HISTORY).wrong == {}


@pytest.mark.parametrize("index", MESSAGES)
def test_any_message_that_is_taken_out_is_missed(index):
    assert check(HISTORY[:index] + HISTORY[index + 1 :]).wrong["accepted and lost"] == 1


@pytest.mark.parametrize("index", MESSAGES)
def test_any_message_that_is_shown_again_is_found(index):
    assert check([*HISTORY[: index + 1], *HISTORY[index:]]).wrong["duplicates"] == 1


@pytest.mark.parametrize("index", MESSAGES[:-4])
def test_any_message_that_comes_after_the_next_one_is_found(index):
    same = [i for i in MESSAGES if i > index and HISTORY[i]["s"] == HISTORY[index]["s"]]
    events = copy.copy(HISTORY)
    events.insert(same[0], events.pop(index))
    assert check(events).wrong.get("out of order"), events[index]
