"""Seeds that mean one thing for ever, and a device that is refused where it is not there."""

import os
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clad.errors import ConfigError
from clad.runtime import OPENBLAS_KERNELS, Runtime, derive_seed, native_bfloat16, track

paths = st.lists(
    st.one_of(st.integers(0, 1000), st.sampled_from(["dec", "order", "a"])), max_size=4
)


def test_seeds_do_not_change_between_versions():
    # Pinned: another value here means that no interrupted run resumes to the same weights.
    assert derive_seed(0) == 7210762507766007076
    assert derive_seed(0, "autoencoder", "order", 3) == 7976224975796016099


@given(st.integers(0, 2**40), paths, st.integers(0, 2**40), paths)
def test_seeds_are_63_bits_and_differ_with_seed_and_path(seed, path, other_seed, other_path):
    one, other = derive_seed(seed, *path), derive_seed(other_seed, *other_path)
    assert 0 <= one < 2**63
    assert (one == other) == ((seed, path) == (other_seed, other_path))


def test_a_path_is_not_its_parts_run_together():
    assert (
        len({derive_seed(1, 23), derive_seed(12, 3), derive_seed(1, 2, 3), derive_seed(123)}) == 4
    )
    assert derive_seed(0, 1) != derive_seed(0, "1")
    assert derive_seed(np.int64(5), "a") == derive_seed(5, "a")


def test_generators_are_a_function_of_the_path():
    one, same, other = Runtime(seed=1), Runtime(seed=1), Runtime(seed=2)
    assert one.rng("a", 0).random() == same.rng("a", 0).random()
    assert one.rng("a", 0).random() != one.rng("a", 1).random()
    assert one.rng("a").random() != other.rng("a").random()
    draws = [torch.rand(1, generator=r.generator("a")).item() for r in (one, same, other)]
    assert draws[0] == draws[1] != draws[2]


def test_seeded_restores_the_global_generator():
    runtime = Runtime(seed=4)
    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    with runtime.seeded("weights"):
        inside = torch.rand(2)
    with suppress(ZeroDivisionError), runtime.seeded("weights"):
        again = torch.rand(2)
        raise ZeroDivisionError
    assert inside.equal(again)
    assert not inside.equal(expected)
    assert torch.rand(2).equal(expected)


def test_cuda_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match=rf"'{device}' but there are 0 CUDA devices.*'cpu'$"):
            Runtime.choose(device=device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        ConfigError, match=r"'cuda:2' but there are 2 CUDA.*or 'cuda:0' to 'cuda:1'"
    ):
        Runtime.choose(device="cuda:2")
    assert Runtime.choose(device="auto").device == "cpu"


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert Runtime.choose(device="cpu", precision="float32").device == "cpu"
    assert not torch.backends.cudnn.deterministic
    chosen = Runtime.choose(device="auto", precision="float32")
    assert chosen == Runtime(device="cuda", bfloat16=False)
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cpu"])
def test_what_gives_one_answer_on_a_gpu_is_asked_for_inside_alone(device, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    asked = []
    with suppress(ValueError), Runtime(device=device).deterministic():
        asked.append(torch.are_deterministic_algorithms_enabled())
        asked.append("CUBLAS_WORKSPACE_CONFIG" in os.environ)
        raise ValueError
    assert asked == [device != "cpu"] * 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize(
    ("amx", "avx512", "expected"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_bfloat16_only_where_the_processor_multiplies_it(monkeypatch, amx, avx512, expected):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    assert native_bfloat16("cpu") is expected
    assert Runtime.choose(device="cpu").bfloat16 is expected
    assert not Runtime.choose(device="cpu").bfloat16_scores, "the same on every machine"
    asked = Runtime.choose(device="cpu", precision="bfloat16")
    assert asked.bfloat16
    assert asked.bfloat16_scores
    assert not Runtime.choose(device="cpu", precision="float32").bfloat16
    assert not native_bfloat16("mps")


@pytest.mark.parametrize(
    ("found", "before", "after"),
    [
        ("AVX512", None, "SkylakeX"),
        ("AVX2", None, "Haswell"),
        ("AVX512", "Zen", "Zen"),
        ("DEFAULT", None, None),
    ],
)
def test_openblas_is_told_of_a_cpu_that_it_may_not_know(monkeypatch, found, before, after):
    monkeypatch.setenv("OPENBLAS_CORETYPE", before or "")  # put back as it was afterwards
    if before is None:
        monkeypatch.delenv("OPENBLAS_CORETYPE")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: found)
    Runtime.choose(device="cpu")
    assert os.environ.get("OPENBLAS_CORETYPE") == after


def test_faiss_takes_the_kernels_it_was_told_of():
    wanted = OPENBLAS_KERNELS.get(torch.backends.cpu.get_cpu_capability())
    if wanted is None:
        pytest.skip("nothing is set for this CPU")
    program = (
        "from clad.runtime import Runtime\n"
        "Runtime.choose(device='cpu')\n"
        "import faiss\n"
        "from threadpoolctl import threadpool_info\n"
        "for each in threadpool_info():\n"
        "    if 'faiss' in each['filepath'] and each['internal_api'] == 'openblas':\n"
        "        print(each['architecture'])\n"
    )
    here = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    found = subprocess.run(
        [sys.executable, "-c", program], env=here, capture_output=True, text=True, check=True
    ).stdout.split()
    if not found:
        pytest.skip("this FAISS has no OpenBLAS of its own")
    assert found == [wanted]


def test_autocast_where_it_was_chosen():
    a = torch.ones(2, 2)
    with Runtime(bfloat16=True).autocast():
        assert (a @ a).dtype == torch.bfloat16
    with Runtime().autocast():
        assert (a @ a).dtype == torch.float32
    for scoring in (False, True):
        runtime = Runtime(bfloat16=not scoring, bfloat16_scores=scoring)
        with runtime.autocast(scoring=True):
            assert (a @ a).dtype == (torch.bfloat16 if scoring else torch.float32)


def test_threads():
    before = torch.get_num_threads()
    try:
        Runtime.choose(device="cpu", threads=before + 1)
        assert torch.get_num_threads() == before + 1
        Runtime.choose(device="cpu")
        assert torch.get_num_threads() == before + 1  # none asked for: as it was
    finally:
        torch.set_num_threads(before)


def test_images_become_floats_in_0_1():
    images = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    x = Runtime().floats(images)
    assert x.shape == (3, 1, 1, 1)
    assert x.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert images.flatten().tolist() == [0, 51, 255]


def test_place_brings_convolutions_into_channels_last():
    network = torch.nn.Conv2d(3, 4, 3)
    assert Runtime().place(network) is network
    assert network.weight.is_contiguous(memory_format=torch.channels_last)


def test_track_is_silent_unless_asked(capsys):
    assert list(Runtime().track(range(3), "x")) == [0, 1, 2]
    assert list(track([5], "x", enabled=False)) == [5]
    assert capsys.readouterr() == ("", "")
