//! Plots for people: lateness and CPU against the number of tasks, on logarithmic axes, as SVG.
//!
//! On a white ground, since a page may be shown light or dark, and large enough to be read at half the size.

use std::error::Error;

use plotters::prelude::*;

use crate::report::grouped;

/// In pixels.
const SIZE: (u32, u32) = (960, 540);
const MARGIN: u32 = 20;
/// Half of the last number on the axis of tasks stands beyond its end.
const RIGHT_MARGIN: u32 = 60;
const X_LABEL_AREA: u32 = 70;
const Y_LABEL_AREA: u32 = 90;
const LINE: u32 = 3;
const DOT: i32 = 5;
const DASH: (u32, u32) = (8, 6);
const LEGEND_LINE: i32 = 36;
const LEGEND_DASH: i32 = 14;

const FONT: &str = "sans-serif";
const TITLE_PX: i32 = 26;
const TEXT_PX: i32 = 20;

/// Colours that differ in lightness too, from Okabe and Ito.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const SKY: RGBColor = RGBColor(86, 180, 233);
const ORANGE: RGBColor = RGBColor(213, 94, 0);
const DARK_GREY: RGBColor = RGBColor(80, 80, 80);
const LIGHT_GREY: RGBColor = RGBColor(228, 228, 228);

/// How far the axis of values goes beyond what is on it, as parts of that; above there is room for the legend.
const ABOVE: f64 = 0.5;
const BELOW: f64 = 0.1;

/// The least part of the axis that is shown, from the least to the greatest value.
const LEAST_SPAN: f64 = 10.0;

/// What the axis of tasks says of those that could not be due each second.
const TASKS_LABEL: &str = "tasks, each due every second; beyond 100,000 of them, 100,000 due times a second";

/// What was measured of so many tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) tasks: u32,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) guests_p99_ms: f64,
    pub(crate) cpu_per_tick_us: f64,
}

/// A line through what was measured.
struct Curve {
    name: &'static str,
    colour: RGBColor,
    value: fn(&Point) -> f64,
}

/// A line at one value.
struct Level {
    name: String,
    colour: RGBColor,
    value: f64,
}

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlotError {
    #[error("there is nothing to draw")]
    Empty,
    #[error("draw")]
    Draw(#[source] Box<dyn Error + Send + Sync>),
}

/// Lateness against the number of tasks, with the goal for its 99th percentile.
pub(crate) fn lateness(points: &[Point], p99_goal_ms: f64) -> Result<String, PlotError> {
    let curves = [
        Curve { name: "p99", colour: BLUE, value: |point| point.p99_ms },
        Curve { name: "p99 by the guests' own clock", colour: SKY, value: |point| point.guests_p99_ms },
        Curve { name: "p50", colour: DARK_GREY, value: |point| point.p50_ms },
    ];
    let goal = Level { name: format!("goal for p99: {p99_goal_ms} ms"), colour: ORANGE, value: p99_goal_ms };
    draw("How late a guest is entered", "lateness in ms", points, &curves, &[goal])
}

/// Processor time per tick against the number of tasks, with the raw loop's and the goal.
pub(crate) fn cpu(points: &[Point], raw_loop_us: f64, goal_over_raw_loop: f64) -> Result<String, PlotError> {
    let curves = [Curve { name: "whole host, per tick", colour: BLUE, value: |point| point.cpu_per_tick_us }];
    let levels = [
        Level { name: "raw engine loop, per run".to_owned(), colour: DARK_GREY, value: raw_loop_us },
        Level {
            name: format!("goal: {goal_over_raw_loop} × the raw loop"),
            colour: ORANGE,
            value: raw_loop_us * goal_over_raw_loop,
        },
    ];
    draw("What a tick costs", "CPU in µs", points, &curves, &levels)
}

fn draw(
    title: &str,
    value_label: &str,
    points: &[Point],
    curves: &[Curve],
    levels: &[Level],
) -> Result<String, PlotError> {
    let tasks = points.iter().map(|point| f64::from(point.tasks));
    let values = curves.iter().flat_map(|curve| points.iter().map(curve.value));
    let (first, last) = bounds(tasks).ok_or(PlotError::Empty)?;
    let (least, most) = bounds(values.chain(levels.iter().map(|level| level.value))).ok_or(PlotError::Empty)?;
    let span = (most / least).max(LEAST_SPAN);
    let (bottom, top) = (least / span.powf(BELOW), most * span.powf(ABOVE));
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, (FONT, TITLE_PX))
            .margin(MARGIN)
            .margin_right(RIGHT_MARGIN)
            .x_label_area_size(X_LABEL_AREA)
            .y_label_area_size(Y_LABEL_AREA)
            .build_cartesian_2d((first / 1.1..last * 1.1).log_scale(), (bottom..top).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(TASKS_LABEL)
            .y_desc(value_label)
            .axis_desc_style((FONT, TEXT_PX))
            .label_style((FONT, TEXT_PX))
            .x_label_formatter(&|tasks| grouped(tasks.round() as u64))
            .y_label_formatter(&|value| mark(*value))
            .bold_line_style(LIGHT_GREY)
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        for Curve { name, colour, value } in curves {
            let at = |point: &Point| (f64::from(point.tasks), value(point));
            let line = LineSeries::new(points.iter().map(at), colour.stroke_width(LINE));
            chart
                .draw_series(line)
                .map_err(failed)?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + LEGEND_LINE, y)], colour.stroke_width(LINE)));
            let dots = points.iter().map(|point| Circle::new(at(point), DOT, colour.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        for Level { name, colour, value } in levels {
            let style = colour.stroke_width(LINE - 1);
            let ends = [(first / 1.1, *value), (last * 1.1, *value)];
            let line = DashedLineSeries::new(ends, DASH.0, DASH.1, style);
            chart.draw_series(line).map_err(failed)?.label(name).legend(move |at| {
                let dash = |from| PathElement::new([(from, 0), (from + LEGEND_DASH, 0)], style);
                EmptyElement::at(at) + dash(0) + dash(LEGEND_LINE - LEGEND_DASH)
            });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .margin(MARGIN)
            .legend_area_size(LEGEND_LINE + 10)
            .label_font((FONT, TEXT_PX))
            .background_style(WHITE)
            .border_style(LIGHT_GREY)
            .draw()
            .map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The least and the greatest of the values; a logarithmic axis has no place for zero.
fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| *value > 0.0).fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((least, most)) => Some((f64::min(least, value), f64::max(most, value))),
    })
}

/// The label of a line across the plot: none but for 1, 2 and 5 of each decade, since the others stand too close.
fn mark(value: f64) -> String {
    let first_digit = (value / 10_f64.powf(value.log10().floor())).round();
    if [1.0, 2.0, 5.0, 10.0].contains(&first_digit) { plain(value) } else { String::new() }
}

/// A number without zeros at its end.
fn plain(value: f64) -> String {
    if value >= 1.0 { grouped(value.round() as u64) } else { format!("{value:.3}").trim_end_matches('0').to_owned() }
}

fn failed(error: impl Error + Send + Sync + 'static) -> PlotError {
    PlotError::Draw(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<Point> {
        let point = |tasks, p50_ms, p99_ms, guests_p99_ms, cpu_per_tick_us| Point {
            tasks,
            p50_ms,
            p99_ms,
            guests_p99_ms,
            cpu_per_tick_us,
        };
        vec![
            point(1_000, 0.31, 1.1, 1.2, 31.0),
            point(10_000, 0.22, 0.9, 0.95, 12.0),
            point(100_000, 0.12, 1.6, 1.7, 8.0),
            point(1_000_000, 0.2, 9.0, 9.5, 8.7),
        ]
    }

    #[test]
    fn lines_that_stand_close_have_no_label() {
        assert_eq!([0.1, 2.0, 30.0, 50.0, 90.0, 100.0].map(mark), ["0.1", "2", "", "50", "", "100"]);
    }

    #[test]
    fn a_plot_names_its_axes_its_units_and_its_goal() {
        let svg = lateness(&points(), 2.0).expect("there are points");
        for text in ["lateness in ms", TASKS_LABEL, "goal for p99: 2 ms", "p99 by the guests", "100,000", "0.1"] {
            assert!(svg.contains(text), "{text}");
        }
        let svg = cpu(&points(), 5.5, 1.5).expect("there are points");
        for text in ["CPU in µs", "raw engine loop, per run", "goal: 1.5 × the raw loop", "1,000,000"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn nothing_is_not_drawn() {
        assert!(matches!(cpu(&[], 5.5, 1.5), Err(PlotError::Empty)));
    }

    #[test]
    fn a_value_on_an_axis_has_no_zeros_behind_it() {
        assert_eq!([0.001, 0.02, 0.5, 1.0, 10.0, 1e6].map(plain), ["0.001", "0.02", "0.5", "1", "10", "1,000,000"]);
    }
}
