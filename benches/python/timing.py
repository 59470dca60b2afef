"""Timing of PyTorch calls: the median wall-clock time over many calls."""

import statistics
import time

import torch

UNTIMED_CALLS = 2  # the first calls choose kernels and grow the allocator
MIN_CALLS = 3


def median_time(call, seconds, between=None):
    """Median seconds per call, over calls until `seconds` have passed.

    `between`, if given, runs before each call and is not timed.
    """
    for _ in range(UNTIMED_CALLS):
        if between:
            between()
        call()
    times, stop = [], time.perf_counter() + seconds
    while len(times) < MIN_CALLS or time.perf_counter() < stop:
        if between:
            between()
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return {"seconds": statistics.median(times), "calls": len(times)}


def median_time_with_backward(function, leaves, seconds):
    """Median time of `function(*leaves)` and its backward pass from a fixed upstream gradient."""
    upstream = torch.randn_like(function(*leaves))

    def call():
        function(*leaves).backward(upstream)

    def drop_gradients():
        for leaf in leaves:
            leaf.grad = None

    return median_time(call, seconds, between=drop_gradients)
