"""Kernels take one thread of BLAS, and leave the number as it was."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import ThreadpoolController

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.threads import one_blas_thread


def counts() -> list[int]:
    """Threads of NumPy's and SciPy's BLAS."""
    assert scipy.linalg
    controller = ThreadpoolController().select(user_api="blas")
    return [library["num_threads"] for library in controller.info()]


def test_blocks_nest_and_set_back() -> None:
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        before = counts()
        assert before
        with one_blas_thread():
            with one_blas_thread():
                assert set(counts()) == {1}
            assert set(counts()) == {1}
        assert counts() == before


def test_an_error_sets_back_too() -> None:
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        before = counts()
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            raise ZeroDivisionError
        assert counts() == before


def test_blocks_of_several_threads_may_overlap() -> None:
    before = counts()
    inside, outside = Barrier(2), Barrier(2)

    @one_blas_thread()
    def limited(leaves_last: bool) -> set[int]:
        inside.wait(60)
        if leaves_last:
            outside.wait(60)
        return set(counts())

    def leave_first() -> None:
        limited(False)
        outside.wait(60)

    with ThreadPoolExecutor(2) as pool:
        last, first = pool.submit(limited, True), pool.submit(leave_first)
        first.result(60)
        assert last.result(60) <= {1, *before}
    assert counts() == before
    with one_blas_thread():
        assert set(counts()) == {1}


def test_kernels_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []

    def looking(*arguments: object, **options: object) -> object:
        seen.append(set(counts()))
        return quantile(*arguments, **options)  # type: ignore[arg-type,call-overload]

    quantile = np.quantile
    monkeypatch.setattr(np, "quantile", looking)
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        mean_interval(np.arange(9.0), resamples=50)
    assert seen
    assert set().union(*seen) == {1}


def test_importing_a_kernel_does_not_look_for_libraries() -> None:
    code = ("import sys, saltrust.analysis.inference.bootstrap; "
            "print('threadpoolctl' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
