# SPDX-License-Identifier: Apache-2.0
"""The Silero voice activity detector: its transform, its stream, and speech against silence."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeshift import models
from edgeshift.core.errors import BadValue
from edgeshift.models.weights import read_tensors
from edgeshift.models.zoo.silero_vad import Network, SileroVad, Transform, fourier

needs_data = pytest.mark.skipif(
    not os.environ.get("EDGESHIFT_DATA"), reason="EDGESHIFT_DATA names no folder with fsdd and weights"
)


def fresh() -> Network:
    model = models.build(models.resolve("silero_vad_8k")).eval()
    assert isinstance(model, Network)
    return model


def chunks(count: int) -> Tensor:
    """Noise, `(count, 1, 1, 256, 1)`: a stream of chunks at 8 kHz."""
    return torch.rand(count, 1, 1, 256, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_cosine_fills_its_own_frequency_and_half_of_both_beside_it() -> None:
    # Under a Hann window of 256 samples a unit cosine has magnitude 256 / 4, its neighbours half of that.
    x = torch.cos(2 * torch.pi / 8 * torch.arange(256))[None, None]
    first = Transform(256, 1)(x)[0, :, 0]
    want = torch.zeros(129)
    want[31:34] = torch.tensor([32.0, 64.0, 32.0])
    assert torch.allclose(first, want, atol=1e-4)


def test_two_equal_channels_are_heard_as_one() -> None:
    x = torch.randn(1, 1, 512, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(Transform(128, 2)(x.repeat(1, 2, 1)), Transform(128, 1)(x), atol=1e-4)


def test_the_softmax_of_the_logits_is_the_sigmoid_of_the_second() -> None:
    logits, _ = fresh().step(chunks(1)[0])
    assert logits[0, 0] == 0
    assert torch.allclose(logits.softmax(1)[:, 1], logits[:, 1].sigmoid())


def test_a_stream_starts_like_one_chunk_after_silence() -> None:
    model, chunk = fresh(), chunks(1)[0]
    logits, state = model.step(chunk)
    assert torch.equal(logits, model(torch.cat([torch.zeros(1, 1, 32, 1), chunk], 2)))
    assert torch.equal(state.context, chunk[:, :, -32:, 0])


def test_a_stream_goes_on_from_the_chunk_before() -> None:
    model = fresh()
    first, second = chunks(2)
    _, state = model.step(first)
    carried, after = model.step(second, state)
    alone = model(torch.cat([first[:, :, -32:], second], 2))  # the same context, a zero state
    assert not torch.allclose(carried, alone, atol=1e-4)
    again, _ = model.step(second, state._replace(hidden=0 * state.hidden, cell=0 * state.cell))
    assert torch.equal(again, alone)
    assert not torch.equal(after.hidden, state.hidden)


def test_two_streams_in_a_batch_do_not_meet() -> None:
    model = fresh().double()
    first, second = chunks(2).double()
    together, _ = model.step(torch.cat([first, second]))
    alone = torch.cat([model.step(first)[0], model.step(second)[0]])
    assert torch.allclose(together, alone, rtol=1e-9, atol=1e-9)  # float64: only the order of sums differs


@pytest.mark.parametrize("window", [0, 6])
def test_a_window_without_quarters_is_refused(window: int) -> None:
    with pytest.raises(BadValue, match="window must be a positive multiple of 4"):
        SileroVad(window)


def test_an_input_too_short_for_the_window_is_refused() -> None:
    SileroVad(256).build(2, (1, 192, 1))
    with pytest.raises(BadValue, match=r"input_shape must be .* at least 192 samples"):
        SileroVad(256).build(2, (1, 191, 1))


@needs_data
@pytest.mark.parametrize(("name", "window"), [("silero_vad_16k", 256), ("silero_vad_8k", 128)])
def test_the_basis_in_the_file_is_the_fourier_basis(name: str, window: int) -> None:
    held = read_tensors(models.pretrained_path(name))["stft_conv.weight"]
    assert torch.allclose(held, fourier(window, 1), rtol=0, atol=2e-7)


def probabilities(model: Network, sound: Tensor) -> list[float]:
    """Probability of speech chunk by chunk, the state carried; the last chunk is filled with silence."""
    filled = torch.nn.functional.pad(sound, (0, -len(sound) % 256))
    state, found = None, []
    with torch.inference_mode():
        for chunk in filled.reshape(-1, 1, 1, 256, 1):
            logits, state = model.step(chunk, state)
            found.append(logits.softmax(1)[0, 1].item())
    return found


@needs_data
def test_spoken_digits_are_speech_and_silence_is_not() -> None:
    model = fresh()
    models.load_weights(model, "silero_vad_8k")
    with np.load(Path(os.environ["EDGESHIFT_DATA"]) / "fsdd" / "fsdd.npz") as held:
        samples, offsets = held["samples"], held["offsets"]
    # Every speaker and digit once: 60 recordings. One of them stays under one half.
    spoken = [
        torch.from_numpy(np.float32(samples[offsets[i] : offsets[i + 1]]) / 32768) for i in range(0, 3000, 50)
    ]
    highest = [max(probabilities(model, sound)) for sound in spoken]
    silence = max(probabilities(model, torch.zeros(8000)))
    assert silence < 0.05
    assert min(highest) > 10 * silence
    assert sum(p > 0.5 for p in highest) == 59
