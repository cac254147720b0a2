"""What stops a run: NaN at once, a spike only against a full window, signals on request."""

import signal

import pytest

from tools.pretrain.watch import LeaveRequest, SpikeWatch

NAN, INFINITE = float("nan"), float("inf")


def watching(*recent, window_steps=2, spike_nats=1.0):
    return SpikeWatch(spike_nats=spike_nats, window_steps=window_steps, recent=recent)


@pytest.mark.parametrize(
    ("loss", "norm", "message"),
    [
        (NAN, 1.0, "the loss is nan, the gradient norm 1.0"),
        (INFINITE, 1.0, "the loss is inf, the gradient norm 1.0"),
        (-INFINITE, 1.0, "the loss is -inf, the gradient norm 1.0"),
        (2.0, NAN, "the loss is 2.0, the gradient norm nan"),
        (2.0, INFINITE, "the loss is 2.0, the gradient norm inf"),
    ],
)
def test_what_is_no_number_stops_at_the_first_step(loss, norm, message):
    watch = watching()
    assert watch.complaint(loss, norm) == message
    assert watch.recent == ()


def test_a_window_that_is_not_full_measures_nothing():
    watch = watching(1.0)
    assert watch.complaint(100.0) == ""
    assert watch.recent == (1.0, 100.0)


@pytest.mark.parametrize(("loss", "stops"), [(2.9, False), (3.0, False), (3.0 + 2**-40, True), (3.1, True)])
def test_the_bound_itself_is_allowed(loss, stops):
    watch = watching(1.0, 3.0)
    assert bool(watch.complaint(loss)) is stops
    assert watch.recent == ((1.0, 3.0) if stops else (3.0, loss))


def test_a_loss_far_below_is_no_spike():
    assert watching(5.0, 5.0).complaint(0.0) == ""


def test_the_message_of_a_spike():
    expected = "the loss is 7.5000, 2.50 nats above the mean of the 4 steps before (the bound is 0.5)"
    assert watching(5.0, 5.0, 5.0, 5.0, window_steps=4, spike_nats=0.5).complaint(7.5) == expected


def test_a_window_of_one_step():
    watch = watching(window_steps=1)
    assert [watch.complaint(loss) for loss in (1.0, 2.0, 3.0)] == ["", "", ""]
    assert watch.complaint(4.5)


def test_resumed_it_decides_as_if_never_interrupted():
    losses = [5.0, 5.5, 4.0, 4.8, 5.2, 9.0, 4.1]
    straight = watching(window_steps=3)
    expected = [straight.complaint(loss) for loss in losses]
    for cut in range(len(losses) + 1):
        first = watching(window_steps=3)
        found = [first.complaint(loss) for loss in losses[:cut]]
        second = watching(*first.recent, window_steps=3)
        assert found + [second.complaint(loss) for loss in losses[cut:]] == expected
    assert [bool(complaint) for complaint in expected] == [False] * 5 + [True, False]


def test_more_recent_losses_than_the_window_keeps_the_last():
    assert watching(1.0, 2.0, 3.0, window_steps=2).recent == (2.0, 3.0)


@pytest.fixture
def leave():
    """A request that listens; both signals go back to what they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    request = LeaveRequest()
    request.listen()
    yield request
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_asks(leave, number):
    assert not leave.asked
    signal.raise_signal(number)
    assert leave.asked
    assert leave.signal is number


def test_a_second_interrupt_leaves_at_once(leave):
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_terminate_may_come_twice(leave):
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert leave.signal is signal.SIGTERM
