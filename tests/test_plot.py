"""Plots: the picture says what the data says."""

import base64
import io
import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from PIL import Image

from labkit import measure, plot
from labkit.estimate.product import Product
from labkit.measure import Ceilings, Measurement, Timings
from labkit.record import Record

pytestmark = pytest.mark.filterwarnings("error")


def percent(value: float, half: float = 1) -> Measurement:
    return Measurement(value, value - half, value + half, "%", 100)


def times(value: float, low: float | None = None, high: float | None = None) -> Measurement:
    return Measurement(value, low or value, high or value, "×", 5)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def tick_labels(axis) -> list:
    """The labels that are seen: matplotlib keeps more, outside of the view."""
    axis.axes.figure.draw_without_rendering()
    low, high = sorted(axis.get_view_interval())
    along = 1 if axis.axis_name == "y" else 0
    return [label for label in axis.get_ticklabels() if low <= label.get_position()[along] <= high]


def ticks(axis) -> list[str]:
    return [label.get_text() for label in tick_labels(axis)]


def all_text(ax) -> list:
    labels = [*ax.texts, ax.xaxis.label, ax.yaxis.label, *tick_labels(ax.xaxis), *tick_labels(ax.yaxis)]
    return [label for label in labels if label.get_text()]


def intervals(ax, axis: int) -> list[tuple[float, float]]:
    """Ends of the error bars along one axis, as drawn."""
    segments = [np.array(s) for lines in ax.collections if hasattr(lines, "get_segments") for s in lines.get_segments()]
    along = [s for s in segments if (s[0] == s[1])[1 - axis]]
    return sorted((s[0, axis], s[1, axis]) for s in along)


# --- every picture -------------------------------------------------------------------------------


@pytest.fixture
def record():
    record = Record("lab", "quick", 0)
    for name, size, accuracy in [("FP32", 8, 94), ("pruned", 8, 90), ("INT8", 2, 93), ("stack", 1, 91), ("bad", 4, 85)]:
        record.add(name, file=Measurement.exact(size * 1e6, "bytes"), accuracy=percent(accuracy), ms=times(size))
    record.add("only a file", file=Measurement.exact(1e5, "bytes"))
    return record


@pytest.fixture
def stack():
    factors = {"pruned": times(2, 1.8, 2.2), "slow format": times(0.5, 0.4, 0.6), "INT8": times(4)}
    return Product("FP32", "all of it", factors, times(3, 2.9, 3.2))


@pytest.fixture
def timings():
    return Timings(
        {"eager": np.array([0.020, 0.022, 0.024, 0.200]), "compiled": np.array([0.010, 0.011, 0.012, 0.100])}
    )


@pytest.fixture
def series():
    return {
        "one-shot": {0: percent(94), 50: percent(84), 90: percent(10)},
        "fine-tuned": {0: percent(94), 50: percent(93.5), 90: percent(87, 2)},
    }


@pytest.fixture(params=["cost_quality", "waterfall", "latencies", "curves"])
def picture(request, record, stack, timings, series):
    """Draw one of the pictures, on axes of its own or on those given."""
    arguments = {
        "cost_quality": (record,),
        "waterfall": (stack,),
        "latencies": (timings,),
        "curves": (series, "sparsity (%)", "accuracy"),
    }[request.param]
    return lambda **options: getattr(plot, request.param)(*arguments, **options)


def test_every_axis_of_numbers_names_its_unit(picture):
    ax = picture().axes[0]
    for axis in (ax.xaxis, ax.yaxis):
        numbers = any(re.match(r"[$−\d]", label) for label in ticks(axis))
        assert bool(re.search(r"\w \(.+\)", axis.get_label_text())) == numbers


def test_the_background_is_white_and_the_text_dark_whatever_the_theme_around(picture):
    with plt.style.context("dark_background"), matplotlib.rc_context({"savefig.facecolor": "black"}):
        figure = picture()
        data, _ = figure._repr_mimebundle_()
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGBA"))
    assert (pixels[..., 3] == 255).all()
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert {to_rgba(label.get_color()) for label in all_text(figure.axes[0])} == {to_rgba("black")}


def test_the_readers_own_settings_change_no_pixel(picture):
    def pixels() -> str:
        return picture()._repr_mimebundle_()[0]["image/png"]

    settings = {
        "text.usetex": True,
        "font.size": 30,
        "savefig.transparent": True,
        "savefig.bbox": "tight",
        "lines.marker": "x",
        "axes.xmargin": 0.4,
        "image.cmap": "jet",
    }
    ours = pixels()
    with matplotlib.rc_context(settings):
        assert pixels() == ours


def test_a_notebook_shows_the_picture_once_with_a_description(picture):
    open_before = plt.get_fignums()
    figure = picture()
    data, metadata = figure._repr_mimebundle_()
    assert figure.alt.endswith(".") and data["text/plain"] == metadata["image/png"]["alt"] == figure.alt
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width == pytest.approx(7.5 * 110, abs=1)
    assert plt.get_fignums() == open_before  # pyplot does not know it, and so does not show it again


def test_text_is_legible_and_inside_the_picture(picture):
    figure = picture()
    frame = figure.bbox.padded(1)
    for label in all_text(figure.axes[0]):
        assert label.get_fontsize() >= 9
        box = label.get_window_extent()
        assert frame.contains(*box.min) and frame.contains(*box.max), label.get_text()


def test_pictures_can_stand_side_by_side(picture):
    chart, (left, right) = plot.subplots(1, 2)
    assert picture(ax=left) is picture(ax=right) is chart
    assert left.has_data() and right.has_data()
    assert chart.alt.count(picture().alt) == 2


def test_a_figure_of_pyplots_will_do(picture):
    figure, ax = plt.subplots()
    assert picture(ax=ax) is figure
    plt.close(figure)


def test_no_two_looks_share_a_colour_or_a_marker():
    colors, markers, _ = zip(*plot.LOOKS)
    assert len(set(colors)) == len(set(markers)) == len(plot.LOOKS)


# --- cost and quality ----------------------------------------------------------------------------

points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20)


def dominates(a, b) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(points)
def test_the_front_is_what_no_point_dominates(points):
    front = measure.pareto_front([cost for cost, _ in points], [quality for _, quality in points])
    for i, point in enumerate(points):
        assert (i in front) == (not any(dominates(other, point) for other in points))


@given(points)
def test_the_front_runs_from_the_cheapest_to_the_best(points):
    front = [points[i] for i in measure.pareto_front(*zip(*points))] if points else []
    assert front == sorted(front)
    assert [quality for _, quality in front] == sorted(quality for _, quality in front)


def test_the_front_needs_a_quality_for_every_cost():
    with pytest.raises(ValueError):
        measure.pareto_front([1, 2], [1])


def test_points_stand_at_cost_and_quality_filled_on_the_front(record):
    ax = plot.cost_quality(record).axes[0]
    every, front, staircase = ax.lines[-3:]
    assert every.get_xdata().tolist() == [8e6, 8e6, 2e6, 1e6, 4e6]
    assert every.get_ydata().tolist() == [94, 90, 93, 91, 85]
    assert every.get_markerfacecolor() == "white"
    assert front.get_xydata().tolist() == [[1e6, 91], [2e6, 93], [8e6, 94]]
    assert front.get_markerfacecolor() == plot.BLUE
    assert staircase.get_drawstyle() == "steps-post"
    assert staircase.get_xydata().tolist() == [*front.get_xydata().tolist(), [ax.get_xlim()[1], 94]]


def test_where_lower_is_better_the_front_is_of_the_lowest_and_better_is_up():
    record = Record("lab", "quick", 0)
    for name, size, perplexity in (("small", 1, 20), ("large", 4, 10), ("worse", 4.5, 15)):
        record.add(name, file=Measurement.exact(size, "bytes"), perplexity=Measurement.exact(perplexity, ""))
    figure = plot.cost_quality(record, "file", "perplexity", lower_is_better=True)
    assert "Pareto front: small, large." in figure.alt
    assert figure.axes[0].yaxis_inverted()
    assert not plot.cost_quality(record, "file", "perplexity").axes[0].yaxis_inverted()


def test_intervals_of_both_are_drawn(record):
    record.add("FP32", file=Measurement(8e6, 7e6, 9e6, "bytes"))
    ax = plot.cost_quality(record, rows=["FP32"]).axes[0]
    assert (7e6, 9e6) in intervals(ax, 0)
    assert (93, 95) in intervals(ax, 1)


def test_cost_is_logarithmic_with_readable_units(record):
    ax = plot.cost_quality(record).axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert ticks(ax.xaxis) == ["1 MB", "2 MB", "5 MB", "10 MB"]
    assert ax.get_xlabel() == "file (bytes, log scale)"
    assert ax.get_ylabel() == "accuracy (%)"


@pytest.mark.parametrize(
    "unit, values, labels",
    [
        ("ms", (5, 40), ["5", "10", "20", "50"]),
        ("ms", (10, 12), ["10", "10.5", "11", "11.5", "12"]),
        ("FLOP", (3e8, 3e9), ["500 MFLOP", "1 GFLOP", "2 GFLOP"]),
        ("", (1e6, 4.5e6), ["1 M", "2 M", "5 M"]),
    ],
)
def test_log_axes_have_plain_ticks(unit, values, labels):
    record = Record("lab", "quick", 0)
    for value in values:
        record.add(f"{value}", some_cost=Measurement.exact(value, unit), accuracy=percent(90))
    ax = plot.cost_quality(record, "some_cost").axes[0]
    assert set(labels) <= set(ticks(ax.xaxis))
    assert ax.get_xlabel() == f"some cost ({unit or 'count'}, log scale)"


def test_rows_can_be_chosen_and_must_have_both(record):
    ax = plot.cost_quality(record, rows=["INT8", "bad"]).axes[0]
    assert texts(ax) == ["INT8", "bad"]
    with pytest.raises(KeyError, match="row 'only a file' has no 'accuracy'"):
        plot.cost_quality(record, rows=["only a file"])
    with pytest.raises(ValueError, match="one unit, got none"):
        plot.cost_quality(record, "latency")


def test_costs_of_two_units_do_not_share_an_axis(record):
    record.add("FP32", file=Measurement.exact(8, "ms"))
    with pytest.raises(ValueError, match="one unit, got 'bytes', 'ms'"):
        plot.cost_quality(record)


def test_names_of_crowded_points_do_not_cover_each_other():
    record = Record("lab", "quick", 0)
    for i in range(10):
        file = Measurement.exact((2 + 0.02 * i) * 1e6, "bytes")
        record.add(f"configuration {i}", file=file, accuracy=percent(90 + i % 3, 0.3))
    ax = plot.cost_quality(record).axes[0]
    ax.figure.draw_without_rendering()
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]
    assert len(boxes) == 10
    for i, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:i]) == 0
        assert ax.bbox.contains(*box.min) and ax.bbox.contains(*box.max)


def test_the_description_names_the_front(record):
    assert plot.cost_quality(record).alt == "accuracy against file. Pareto front: stack, INT8, FP32."


# --- stack ---------------------------------------------------------------------------------------


def test_each_factor_starts_where_the_one_before_ends(stack):
    ax = plot.waterfall(stack, "smaller").axes[0]
    spans = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in ax.patches if hasattr(bar, "get_height")]
    assert spans == [(1, 2), (2, 1), (1, 4), (1, 4), (1, 3)]
    assert ticks(ax.xaxis) == ["pruned", "slow format", "INT8", "predicted\nproduct", "measured: all of\nit"]
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "times smaller than FP32 (×, log scale)"


def test_a_loss_is_hatched(stack):
    bars = [bar for bar in plot.waterfall(stack).axes[0].patches if hasattr(bar, "get_height")]
    assert [bar.get_hatch() for bar in bars] == ["", "xx", "", "//", ""]


def test_bars_and_gap_are_named_with_their_values(stack):
    ax = plot.waterfall(stack).axes[0]
    assert texts(ax)[:-1] == ["2.00×", "0.500×", "4.00×", "4.00×", "3.00×"]
    assert texts(ax)[-1] == "the whole is 0.750×\nof the product\n(0.549 – 1.11)"


def test_stack_intervals_are_drawn_where_the_bars_end(stack):
    drawn = intervals(plot.waterfall(stack).axes[0], 1)
    factors = [(1.8, 2.2), (2 * 0.4, 2 * 0.6), (4, 4)]  # each on the product of those before
    for low, high in [*factors, (1.8 * 0.4 * 4, 2.2 * 0.6 * 4), (2.9, 3.2)]:
        assert any((low, high) == pytest.approx(ends) for ends in drawn)


def test_the_gap_is_spanned_by_an_arrow(stack):
    ax = plot.waterfall(stack).axes[0]
    (arrow,) = [text for text in ax.texts if not text.get_text()]
    assert {arrow.xy[1], arrow.xyann[1]} == {3, 4}


# --- latency -------------------------------------------------------------------------------------


def test_every_round_is_a_dot_in_milliseconds_in_its_order(timings):
    ax = plot.latencies(timings).axes[0]
    for i, name in enumerate(timings):
        dots = ax.lines[2 * i]
        assert dots.get_xdata() == pytest.approx(1e3 * timings[name])
        assert (np.diff(dots.get_ydata()) > 0).all()
        assert abs(dots.get_ydata() - i).max() < 0.5
    assert ax.yaxis_inverted()  # so that the first round is on top
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "latency (ms, log scale)")


def test_the_box_spans_the_quartiles_and_the_line_is_the_median(timings):
    ax = plot.latencies(timings).axes[0]
    for i, (name, box) in enumerate(zip(timings, ax.patches)):
        latency = timings.latency(name)
        assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((latency.low, latency.high))
        assert set(ax.lines[2 * i + 1].get_xdata()) == {latency.value}


def test_labels_give_the_paired_speed_up(timings):
    labels = ticks(plot.latencies(timings, baseline="eager").axes[0].yaxis)
    assert labels[0].split("\n") == ["eager", str(timings.latency("eager")), "baseline"]
    assert labels[1].split("\n") == ["compiled", str(timings.latency("compiled")), "speed-up 2.00×"]
    assert ticks(plot.latencies(timings).axes[0].yaxis)[1] == f"compiled\n{timings.latency('compiled')}"


def test_functions_can_be_chosen(timings):
    assert len(ticks(plot.latencies(timings, ["compiled"], baseline="eager").axes[0].yaxis)) == 1


# --- curves --------------------------------------------------------------------------------------


def test_curves_pass_through_their_measurements(series):
    ax = plot.curves(series, "sparsity (%)", "top_1").axes[0]
    for container, (name, measured) in zip(ax.containers, series.items()):
        assert container.get_label() == name
        assert container[0].get_xydata().tolist() == [[x, m.value] for x, m in measured.items()]
    assert sorted(set(intervals(ax, 1))) == sorted({(m.low, m.high) for s in series.values() for m in s.values()})
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sparsity (%)", "top 1 (%)")


def test_curves_differ_in_marker_and_line_not_only_in_colour(series):
    first, second = [container[0] for container in plot.curves(series, "sparsity (%)", "accuracy").axes[0].containers]
    assert first.get_marker() != second.get_marker()
    assert first.get_linestyle() != second.get_linestyle()


def test_curves_share_one_unit(series):
    series["latency"] = {0: Measurement.exact(8, "ms")}
    with pytest.raises(ValueError, match="one unit, got '%', 'ms'"):
        plot.curves(series, "sparsity (%)", "accuracy")


STACKS = [(times(1), percent(9)), (times(2), percent(4)), (times(4), percent(5)), (times(8), percent(1))]


def test_of_many_points_the_front_is_where_nothing_costs_and_loses_less():
    figure = plot.front(STACKS, range(4), {"phone": 1}, "file", "lost")
    every, others, front = figure.axes[0].lines[:3]
    assert (len(every.get_xdata()), len(others.get_xdata())) == (4, 0)
    assert list(front.get_xdata()) == [1, 2, 8]
    assert figure.axes[0].yaxis.get_inverted()


def test_points_that_were_run_once_are_hollow_and_not_on_the_front():
    every, once, front = plot.front(STACKS, [0, 2, 3], {"phone": 2}, "file", "lost").axes[0].lines[:3]
    assert list(once.get_xdata()) == [2]
    assert once.get_fillstyle() == "none"
    assert list(front.get_xdata()) == [1, 4, 8]


def test_of_many_points_only_the_named_have_names_and_intervals():
    figure = plot.front(STACKS, range(4), {"phone": 1, "server": 3}, "file", "lost")
    assert texts(figure.axes[0]) == ["phone", "server"]
    assert [ends for ends in intervals(figure.axes[0], 1) if ends[0] < ends[1]] == [(0, 2), (3, 5)]
    assert "phone: 2.00×, 4.00% (3.00 – 5.00)" in figure.alt


def test_a_heat_map_has_a_number_and_its_interval_for_every_pair():
    figure = plot.heat_map({("a", "b"): times(3, 2, 4), ("a", "c"): times(2)}, "title", neutral=1)
    assert texts(figure.axes[0]) == ["3.00\n2 – 4", "2.00"]
    assert "a with b 3.00× (2.00 – 4.00)" in figure.alt


def test_what_cannot_be_told_from_neutral_stands_in_brackets_without_colour():
    figure = plot.heat_map({("a", "b"): times(1.5, 0.5, 4), ("a", "c"): times(2)}, "title", neutral=1)
    assert texts(figure.axes[0])[0] == "(1.50\n0.5 – 4)"
    assert figure.axes[0].images[0].get_array()[0].tolist() == [0, 1]


def test_a_heat_map_of_ordered_pairs_has_its_columns_in_the_order_of_the_rows():
    cells = {("a", "b"): times(2), ("b", "a"): times(10), ("b", "c"): times(1)}
    [ax] = plot.heat_map(cells, "title", neutral=1).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    root = ax.images[0].get_array()
    assert (root[0, 1], root[1, 0], root[1, 2]) == (1, 3, 0)  # of the distances 1, 9 and 0


# --- intervals -----------------------------------------------------------------------------------


def test_intervals_have_a_row_for_each_thing_and_a_point_for_each_series_that_has_it():
    series = {"alone": {"prune": times(2, 1, 3), "train": times(1)}, "in the whole": {"train": times(5)}}
    figure = plot.intervals(series, "smaller")
    [ax] = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["prune", "train"]
    assert [container[0].get_xdata().tolist() for container in ax.containers] == [[2, 1], [5]]
    assert (1, 3) in intervals(ax, 0)
    assert ax.get_ylim() == (1.5, -0.5)  # the first is on top
    assert "alone prune 2.00× (1.00 – 3.00)" in figure.alt


# --- roofline ------------------------------------------------------------------------------------


def gflops(value: float, low: float | None = None, high: float | None = None) -> Measurement:
    return Measurement(value, low or value, high or value, "GFLOP/s", 5)


MACHINE = Ceilings(gflops(100, 90, 110), Measurement(20, 18, 22, "GB/s", 5))
LAYERS = {"ReLU": (0.125, gflops(2)), "linear": (4, gflops(50, 40, 60)), "batch 512": (200, gflops(95))}


def test_a_roofline_keeps_the_rules_of_every_picture():
    def draw(**options):
        return plot.roofline(MACHINE, LAYERS, **options)

    test_every_axis_of_numbers_names_its_unit(draw)
    test_the_background_is_white_and_the_text_dark_whatever_the_theme_around(draw)
    test_a_notebook_shows_the_picture_once_with_a_description(draw)
    test_text_is_legible_and_inside_the_picture(draw)
    test_pictures_can_stand_side_by_side(draw)
    test_a_figure_of_pyplots_will_do(draw)


def test_the_roof_rises_with_the_bandwidth_to_the_ridge_and_is_flat_from_there():
    memory, arithmetic = [line.get_xydata() for line in plot.roofline(MACHINE, LAYERS).axes[0].lines[:2]]
    assert memory[:, 1] == pytest.approx(20 * memory[:, 0])
    assert memory[-1] == pytest.approx((5, 100)) == arithmetic[0]
    assert arithmetic[:, 1] == pytest.approx(np.full(40, 100))
    assert memory[0, 0] < 0.125 and arithmetic[-1, 0] > 200  # the roof covers all points


def test_layers_stand_below_the_roof_at_their_intensity_with_their_quartiles():
    ax = plot.roofline(MACHINE, LAYERS).axes[0]
    assert ax.containers[0][0].get_xydata().tolist() == [[0.125, 2], [4, 50], [200, 95]]
    assert (40, 60) in intervals(ax, 1)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "FLOP per byte (FLOP/byte, log scale)"
    assert ax.get_ylabel() == "performance (GFLOP/s, log scale)"


def test_layers_and_the_ridge_are_named_and_described():
    figure = plot.roofline(MACHINE, LAYERS)
    assert texts(figure.axes[0]) == ["ReLU", "linear", "batch 512", f"ridge: {MACHINE.ridge}"]
    assert "memory: 20.0 GB/s (18.0 – 22.0); arithmetic: 100 GFLOP/s (90.0 – 110)" in figure.alt
    assert "linear at 4 FLOP/byte: 50.0 GFLOP/s (40.0 – 60.0)" in figure.alt


def test_names_of_layers_at_one_place_do_not_cover_each_other():
    ax = plot.roofline(MACHINE, {f"layer {i}": (4 + 0.1 * i, gflops(60 + i)) for i in range(6)}).axes[0]
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]
    assert len(boxes) == 7
    assert not any(box.count_overlaps(boxes[:i]) for i, box in enumerate(boxes))


def test_a_machine_without_layers_has_a_roof_still():
    assert texts(plot.roofline(MACHINE, {}).axes[0]) == [f"ridge: {MACHINE.ridge}"]


def test_layers_are_measured_in_the_unit_of_the_roof():
    with pytest.raises(ValueError, match="one unit, got 'GFLOP/s', 'ms'"):
        plot.roofline(MACHINE, {"ReLU": (0.125, Measurement.exact(2, "ms"))})


def test_every_picture_stands_under_its_name_and_what_is_said_of_it():
    images = {name: Image.new("RGB", (4, 4)) for name in ("cat", "cup", "dog")}
    chart = plot.pictures(images, {name: [f"FP32: {name}", "INT8: tub"] for name in images})
    shown = [ax for ax in chart.axes if ax.images]
    assert [ax.get_title("left") for ax in shown] == [f"{name}\nFP32: {name}\nINT8: tub" for name in images]
    assert "cup: FP32: cup, INT8: tub" in chart.alt and not any(ax.axison for ax in chart.axes)


def test_training_losses_have_a_point_for_each_step_and_their_mean_over_seeds():
    ax = plot.training_losses({"LoRA": [[3.0, 2.0], [3.2, 2.4]], "QLoRA": [[4.0, 3.0]]}).axes[0]
    assert [container[0].get_xydata().tolist() for container in ax.containers] == [
        [[1, pytest.approx(3.1)], [2, pytest.approx(2.2)]],
        [[1, 4.0], [2, 3.0]],
    ]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "training loss (nats per token)")


def test_the_front_of_stacks_names_what_they_were_chosen_for_and_shows_what_may_be_lost():
    stacks = {
        (name,): {"file": cost, "lost": lost, "smaller": times(2)}
        for name, (cost, lost) in zip(("a", "b", "c", "far"), [*STACKS[:3], (times(8), percent(50))])
    }
    chosen = {"phone": ("b",), "server": ("b",), "none trained": ("c",)}
    figure = plot.front_of(stacks, [("a",), ("b",)], chosen, allowed=6, worst=10)
    ax = figure.axes[0]
    assert texts(ax) == ["allowed", "phone, server: 2.00×", "none trained: 2.00×"]
    line, every, once, front = ax.lines[:4]
    assert set(line.get_ydata()) == {6}
    assert (list(every.get_xdata()), list(once.get_xdata()), list(front.get_xdata())) == ([1, 2], [4], [1, 2])
