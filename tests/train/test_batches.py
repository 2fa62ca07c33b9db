# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from edgeshift.train.batches import Batches, augmented, draw, moved


def numbered(n: int, *, channels_last: bool = False) -> Batches:
    images = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1).expand(n, 2, 4, 4).contiguous()
    mean, std = (
        torch.tensor([0.5, 0.25], dtype=torch.float64),
        torch.tensor([0.5, 0.125], dtype=torch.float64),
    )
    return Batches(images, torch.arange(n), mean, std, channels_last=channels_last)


def order(batches: Batches, *key: int, start: int = 0) -> list[int]:
    return [int(y) for _, labels in batches.epoch(8, "none", *key, start=start) for y in labels]


def test_every_image_comes_once() -> None:
    assert sorted(order(numbered(21), 0, 0, 0)) == list(range(21))


def test_batches_differ_by_one_image_at_most() -> None:
    assert [len(y) for _, y in numbered(21).epoch(10, "none", 0, 0, 0)] == [7, 7, 7]
    assert [len(y) for _, y in numbered(17).epoch(8, "none", 0, 0, 0)] == [6, 6, 5]


def test_seed_level_and_epoch_each_change_the_order() -> None:
    batches = numbered(50)
    assert len({tuple(order(batches, *key)) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}) == 4


def test_an_epoch_can_be_drawn_again() -> None:
    assert order(numbered(50), 0, 1, 2) == order(numbered(50), 0, 1, 2)


def test_starting_later_gives_the_rest_of_the_same_epoch() -> None:
    assert order(numbered(24), 0, 0, 0, start=1) == order(numbered(24), 0, 0, 0)[8:]


def test_augmentation_does_not_depend_on_where_one_starts() -> None:
    whole = [x for x, _ in numbered(24).epoch(8, "crop_flip", 0, 0, 0)]
    rest = [x for x, _ in numbered(24).epoch(8, "crop_flip", 0, 0, 0, start=2)]
    assert torch.equal(whole[2], rest[0])


def test_taught_batches_show_the_views_and_pair_them_with_what_the_teacher_said() -> None:
    images = (torch.arange(12 * 64) % 251).to(torch.uint8).reshape(12, 1, 8, 8)
    one = torch.tensor([1.0], dtype=torch.float64)
    batches = Batches(images, torch.arange(12), 0 * one, one, channels_last=False)
    views = [torch.cat(list(batches.viewed(5, "crop_flip", 3, view))) for view in (0, 1)]
    assert not torch.equal(views[0], views[1])
    # A teacher that says the first row of what it sees.
    targets = [view[:, 0, 0] for view in views]
    for epoch in range(4):
        seen = list(batches.taught(5, "crop_flip", 3, 0, epoch, targets=targets))
        shown, labels, told = (torch.cat(part) for part in zip(*seen, strict=True))
        assert sorted(labels.tolist()) == list(range(12))
        assert labels.tolist() != list(range(12))
        assert torch.equal(shown, views[epoch % 2][labels])
        assert torch.equal(told, shown[:, 0, 0])
        rest = list(batches.taught(5, "crop_flip", 3, 0, epoch, targets=targets, start=2))
        assert len(rest) == 1
        assert torch.equal(rest[0][0], seen[2][0])


def test_pixels_are_normalised_per_channel() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 2, 1, 1)
    out = numbered(1).normalised(images).flatten(1)
    # (0 - 0.5) / 0.5 and (0 - 0.25) / 0.125; (1 - 0.5) / 0.5 and (1 - 0.25) / 0.125
    assert out == pytest.approx(torch.tensor([[-1.0, -2.0], [1.0, 6.0]]), abs=1e-6)  # float32


def test_batches_have_the_memory_order_asked_for() -> None:
    images, _ = next(numbered(8, channels_last=True).plain(8))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_plain_batches_keep_the_order() -> None:
    assert [y.tolist() for _, y in numbered(5).plain(2)] == [[0, 1], [2, 3], [4]]


def picture(n: int) -> torch.Tensor:
    return (1 + torch.arange(64, dtype=torch.uint8)).reshape(1, 1, 8, 8).expand(n, 1, 8, 8).contiguous()


def test_none_changes_nothing() -> None:
    assert torch.equal(augmented(picture(3), "none", torch.Generator()), picture(3))
    assert torch.equal(moved(picture(3), draw(picture(3).shape, "none", torch.Generator())), picture(3))


@pytest.mark.parametrize(("augment", "ways"), [("crop", 9), ("crop_flip", 18)])
def test_each_image_is_shifted_by_up_to_an_eighth_and_perhaps_mirrored(augment: str, ways: int) -> None:
    black = torch.zeros(10, 10, dtype=torch.uint8)
    black[1:9, 1:9] = picture(1)[0, 0]
    expected = {tuple(black[r : r + 8, c : c + 8].flatten().tolist()) for r in range(3) for c in range(3)}
    if augment == "crop_flip":
        expected |= {tuple(torch.tensor(e).reshape(8, 8).flip(1).flatten().tolist()) for e in expected}
    out = augmented(picture(500), augment, torch.Generator().manual_seed(0))
    assert (out.dtype, tuple(out.shape)) == (torch.uint8, (500, 1, 8, 8))
    assert {tuple(image.flatten().tolist()) for image in out} == expected
    assert len(expected) == ways


def test_channels_of_an_image_move_together() -> None:
    out = augmented(picture(50).expand(50, 3, 8, 8), "crop_flip", torch.Generator().manual_seed(0))
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])
