# SPDX-License-Identifier: Apache-2.0
"""The networks that shrinking is measured on, and the channels planted dead in them."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.networks import KINDS, Network, Planted, Site, find, make, make_planted, names, places, plant_
from bench.networks.plant import Part, Place, Strip
from edgeshift.core.errors import BadValue, NoEffect, UnknownName

NAMES = names()
WHOLE = [name for name in NAMES if not name.startswith("micro.")]
CONSTANT = [name for name in NAMES if any("constant" in site.kinds for site in find(name).sites)]

# Parameters the papers' networks have: exactly, at the sizes their authors' code builds.
PUBLISHED = {
    "convnext_tiny": (28_589_128, {}),
    "densenet121": (7_978_856, {}),
    "efficientnet_b0": (5_288_548, {}),
    "mlp_mixer": (18_528_264, {"image": 224}),
    "mobilenet_v3-large": (5_483_032, {}),
    "mobilenet_v3-small": (2_542_856, {}),
    "regnet-y": (4_344_144, {}),
    "resnet50": (25_557_032, {}),
    "shufflenet_v2": (2_278_604, {}),
    "swin_tiny": (28_288_354, {"image": 224, "window": 7}),
    "vit_tiny-fused": (5_717_416, {"image": 224}),
    "vit_tiny-multihead": (5_717_416, {"image": 224}),
}
# In millions, as the papers round them.
ROUNDED = {
    "inception": (7.0, {}),
    "regnet-x": (5.2, {}),
    "transformer": (63.1, {"vocabulary": 37_000}),
    "unet": (31.0, {}),
}


def run(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        out = model(*inputs)
    return out if isinstance(out, tuple) else (out,)


def traced(model: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    with warnings.catch_warnings():  # torch's own recurrent layers and pruning hooks assign attributes
        warnings.filterwarnings("ignore", message=".*assigned during export", category=UserWarning)
        return torch.export.export(model, inputs).module()


def double(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return model.double(), tuple(x.double() if x.is_floating_point() else x for x in inputs)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


def by_unit(tensor: Tensor, place: Place, strip: Strip) -> Tensor:
    """`(units, elements)`: which elements of the flat tensor each unit owns, int64."""
    flat = torch.arange(tensor.numel()).view(tensor.shape)
    if strip.groups == 1:
        index = strip.index(range(place.units), place.units)
        return flat.movedim(strip.axis, 0)[index].view(strip.repeat, place.units, -1).movedim(0, 1).flatten(1)
    grouped = flat.view(strip.groups, -1, *flat.shape[1:])
    return grouped.movedim(2, 1).reshape(place.units, -1)


def zero_units(model: nn.Module, place: Place, strip: Strip) -> set[int]:
    tensor = tensors(model)[strip.tensor]
    alive = tensor.flatten()[by_unit(tensor, place, strip)].any(1)
    return {unit for unit in range(place.units) if not alive[unit]}


def disturb_(model: nn.Module, planted: Planted, kind: str, strips: tuple[Strip, ...]) -> None:
    generator = torch.Generator().manual_seed(5)
    for strip in strips:
        tensor = tensors(model)[strip.tensor].detach()
        index = by_unit(tensor, planted.place, strip)[list(planted.channels.get(kind, ()))]
        tensor.view(-1)[index] = torch.rand(index.shape, generator=generator, dtype=tensor.dtype)


def sites_with(network: Network, kind: str) -> list[Site]:
    return [site for site in network.sites if kind in site.kinds]


class Chain(nn.Module):
    """Two convolutions, four channels between."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 4, 3)
        self.two = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).relu())


CHAIN = (Site("", writes=("one",), reads=("two",)),)


def test_the_shelf_has_the_networks_of_the_figure() -> None:
    wanted = {"resnet50", "mobilenet_v3-small", "mobilenet_v3-large", "efficientnet_b0", "convnext_tiny"}
    wanted |= {"regnet-x", "regnet-y", "shufflenet_v2", "densenet121", "inception", "unet", "deeplab"}
    wanted |= {"vit_tiny-fused", "vit_tiny-multihead", "swin_tiny", "mlp_mixer", "transformer"}
    wanted |= {"gru_speech", "lstm_keyword", "tcn", "micro.plain_conv", "micro.option_a"}
    assert wanted <= set(NAMES)


def test_an_unknown_network_is_named_with_its_neighbour() -> None:
    with pytest.raises(UnknownName, match=r"no network named 'resnet5'; did you mean 'resnet50'\?"):
        make("resnet5")


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_are_those_published(name: str) -> None:
    count, options = PUBLISHED[name]
    network = find(name)
    with torch.device("meta"):
        model = network.build(**{**network.options, **options})
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_parameters_round_to_those_published(name: str) -> None:
    millions, options = ROUNDED[name]
    network = find(name)
    with torch.device("meta"):
        model = network.build(**{**network.options, **options})
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WHOLE])
def test_torch_export_traces_it(name: str) -> None:
    model, inputs = make(name, small=True)
    assert not model.training
    for got, want in zip(run(traced(model, inputs), inputs), run(model, inputs), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_torch_export_traces_it_at_its_published_depth(name: str) -> None:
    model, inputs = make(name)
    for got, want in zip(run(traced(model, inputs), inputs), run(model, inputs), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_makes_the_same_network_and_another_does_not(name: str) -> None:
    model, inputs = make(name, small=True)
    state = model.state_dict()
    again, more = make(name, small=True)
    other, _ = make(name, seed=1, small=True)
    assert all(torch.equal(a, b) for a, b in zip(inputs, more, strict=True))
    assert all(torch.equal(state[key], value) for key, value in again.state_dict().items())
    assert not all(torch.equal(state[key], value) for key, value in other.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_its_output_depends_on_its_input(name: str) -> None:
    model, inputs = make(name, small=True)
    for out in run(model, inputs):
        # 5 %: the samples must differ by more than any tolerance a proof uses, or errors would hide
        assert float((out[0] - out[1]).abs().mean()) > 0.05 * float(out.std())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WHOLE])
def test_its_output_depends_on_its_input_with_most_channels_dead(name: str) -> None:
    model, inputs, planted = make_planted(name, 0.9, small=True)
    assert sum(record.count for record in planted) > 0
    for out in run(model, inputs):
        assert float((out[0] - out[1]).abs().mean()) > 0.001 * float(out.std())


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "micro.plain_conv", "micro.depthwise"])
def test_measuring_again_leaves_the_planted_units_zero(name: str) -> None:
    model, _, records = make_planted(name, 0.6, small=True, kinds=["zero", "constant"])
    for planted in records:
        dead = {unit for channels in planted.channels.values() for unit in channels}
        for strip in planted.place.weights:
            assert zero_units(model, planted.place, strip) == dead


@pytest.mark.parametrize("name", NAMES)
def test_every_site_exists_in_a_variant(name: str) -> None:
    family = [other for other in NAMES if other.split("-")[0] == name.split("-")[0]]
    found = [
        place.site for other in family for place in places(make(other, small=True)[0], find(other).sites)
    ]
    assert set(find(name).sites) <= set(found)
    assert places(make(name, small=True)[0], find(name).sites)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_exactly_the_planted_units_are_zero(name: str, kind: str) -> None:
    sites = sites_with(find(name), kind)
    model, _ = make(name, small=True)
    if not sites:
        with pytest.raises(NoEffect, match=r"got 0\.6"):
            plant_(model, sites, 0.6, kinds=[kind])
        return
    for planted in plant_(model, sites, 0.6, kinds=[kind]):
        place = planted.place
        written = place.weights + (place.shifts if kind == "zero" else ())
        strips = place.reads if kind == "unread" else written
        for strip in strips:
            assert zero_units(model, place, strip) == set(planted.channels[kind]), strip.tensor
        size = place.units // place.groups
        assert planted.count == place.groups * min(round(0.6 * size), size - 1)


@pytest.mark.parametrize("name", NAMES)
def test_what_reads_a_zero_channel_does_not_matter(name: str) -> None:
    sites = sites_with(find(name), "zero")
    model, inputs = double(*make(name, small=True))
    records = plant_(model, sites, 0.6, kinds=["zero"])
    want = run(model, inputs)
    for planted in records:
        disturb_(model, planted, "zero", planted.place.reads)
    for got, old in zip(run(model, inputs), want, strict=True):
        torch.testing.assert_close(got, old, rtol=1e-12, atol=1e-12)  # float64: sums in another order


@pytest.mark.parametrize("name", NAMES)
def test_what_writes_an_unread_channel_does_not_matter(name: str) -> None:
    sites = sites_with(find(name), "unread")
    if not sites:
        pytest.skip("no channel of it may be planted unread")
    model, inputs = double(*make(name, small=True))
    records = plant_(model, sites, 0.6, kinds=["unread"])
    want = run(model, inputs)
    for planted in records:
        disturb_(model, planted, "unread", planted.place.weights + planted.place.shifts)
    for got, old in zip(run(model, inputs), want, strict=True):
        torch.testing.assert_close(got, old, rtol=1e-12, atol=1e-12)  # float64: sums in another order


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_channel_reaches_its_readers_as_one_number(name: str) -> None:
    model, inputs = double(*make(name, small=True))
    records = plant_(model, sites_with(find(name), "constant"), 0.6, kinds=["constant"])
    seen: dict[str, Tensor] = {}

    def watch(reader: str) -> Any:
        return lambda module, arguments: seen.__setitem__(reader, arguments[0])

    readers = {strip.tensor.rpartition(".")[0] for p in records for strip in p.place.reads}
    for reader in readers:
        model.get_submodule(reader).register_forward_pre_hook(watch(reader))
    run(model, inputs)
    checked = 0
    for planted in records:
        for strip in planted.place.reads:
            reader = strip.tensor.rpartition(".")[0]
            convolution = "Conv" in type(model.get_submodule(reader)).__name__
            channels_first = seen[reader].movedim(1 if convolution else -1, 0)
            for unit in planted.channels["constant"]:
                values = channels_first[strip.index([unit], planted.place.units)]
                # 1e-12: means over a constant map round
                torch.testing.assert_close(values, values.flatten()[0].expand_as(values), rtol=0, atol=1e-12)
                checked += 1
    assert checked > 0 or not readers


def test_kinds_are_dealt_in_turn() -> None:
    model = Chain()
    (planted,) = plant_(model, CHAIN, 0.75)
    assert {kind: len(channels) for kind, channels in planted.channels.items()} == dict.fromkeys(KINDS, 1)
    zero, constant, unread = (planted.channels[kind][0] for kind in KINDS)
    assert not model.one.weight[zero].any()
    assert model.one.bias[zero] == 0
    assert not model.one.weight[constant].any()
    assert model.one.bias[constant] != 0
    assert model.one.weight[unread].all()
    assert not model.two.weight[:, unread].any()


def test_one_of_several_constants_stays_where_the_reader_pads() -> None:
    (planted,) = plant_(Chain(), CHAIN, 0.75, kinds=["constant"])
    assert (planted.count, planted.removable) == (3, 2)


def test_zeros_all_go_where_the_reader_pads() -> None:
    (planted,) = plant_(Chain(), CHAIN, 0.75, kinds=["zero"])
    assert (planted.count, planted.removable) == (3, 3)


def test_at_least_one_channel_stays() -> None:
    (planted,) = plant_(Chain(), CHAIN, 0.99, kinds=["zero"])
    assert planted.count == 3


def test_another_seed_chooses_other_channels() -> None:
    chosen = {plant_(Chain(), CHAIN, 0.5, seed, kinds=["zero"])[0].channels["zero"] for seed in range(8)}
    assert len(chosen) > 1


def test_groups_lose_equally_many() -> None:
    model, _ = make("micro.grouped")
    for planted in plant_(model, find("micro.grouped").sites, 0.5):
        size = planted.place.units // 3
        every = [unit for channels in planted.channels.values() for unit in channels]
        assert [sum(unit // size == group for unit in every) for group in range(3)] == [size // 2] * 3


def test_a_fused_head_owns_its_rows_of_query_key_and_value() -> None:
    strip = Strip("qkv.weight", axis=0, start=0, repeat=3, block=2)
    assert strip.index([1], units=3).tolist() == [2, 3, 8, 9, 14, 15]


def test_a_start_moves_the_units() -> None:
    strip = Strip("join.weight", axis=1, start=10, repeat=1, block=1)
    assert strip.index([0, 4], units=6).tolist() == [10, 14]


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(BadValue, match=f"share must be above 0 and below 1, got {share}"):
        plant_(Chain(), CHAIN, share)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BadValue, match="kind must be one of zero, constant, unread, got 'gone'"):
        plant_(Chain(), CHAIN, 0.5, kinds=["gone"])


def test_too_small_a_share_has_no_effect() -> None:
    with pytest.raises(NoEffect, match=r"got 0\.01"):
        plant_(Chain(), CHAIN, 0.01)


def test_an_unread_site_needs_readers() -> None:
    with pytest.raises(BadValue, match="reads of a site with kind 'unread' must be at least one module"):
        Site("", writes=("one",))


def test_more_units_than_the_reader_has_columns_are_refused() -> None:
    with pytest.raises(BadValue, match=r"units of the site at two\.weight must be at most 4 indices long"):
        places(Chain(), [Site("", writes=("one",), reads=(Part("two", block=2),))])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks run slower on more threads of a shared machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
