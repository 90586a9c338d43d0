//! What was measured, as a table of at most 80 columns and as JSON.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::machine::Machine;

/// The widths of the table's columns; what is left of 80 is for the goal.
const NAME_COLUMNS: usize = 40;
const VALUE_COLUMNS: usize = 12;
const UNIT_COLUMNS: usize = 6;

/// All that was measured in one call.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The program and its version, in its own words.
    pub(crate) taskhost: String,
    /// How the host was built, as far as this program was built with it.
    pub(crate) optimised: bool,
    pub(crate) machine: Machine,
    pub(crate) sections: Vec<Section>,
}

/// One scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// What to type to measure it again.
    pub(crate) command: String,
    pub(crate) figures: Vec<Figure>,
    /// What is to be known of them, or is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: Cow<'static, str>,
    /// The median, where it was sampled several times.
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
    /// In order, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<f64>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    Count,
    #[serde(rename = "per_s")]
    PerSecond,
    Percent,
    Times,
    Us,
    Ms,
    S,
    KiB,
    MiB,
}

impl Section {
    pub(crate) fn new(title: impl Into<String>, command: impl Into<String>) -> Self {
        Self { title: title.into(), command: command.into(), figures: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn figure(&mut self, name: impl Into<Cow<'static, str>>, value: f64, unit: Unit) {
        self.figures.push(Figure { name: name.into(), value, unit, goal: None, samples: Vec::new() });
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// A figure of which the median is told.
    pub(crate) fn median(&mut self, name: impl Into<Cow<'static, str>>, samples: Vec<f64>, unit: Unit) {
        self.figures.push(Figure { name: name.into(), value: median(&samples), unit, goal: None, samples });
    }

    /// A figure that should be `at_most` this.
    pub(crate) fn goal(&mut self, name: impl Into<Cow<'static, str>>, value: f64, unit: Unit, at_most: f64) {
        self.figure(name, value, unit);
        self.at_most(at_most);
    }

    /// The most that the figure before should be.
    pub(crate) fn at_most(&mut self, bound: f64) {
        self.set_goal(Goal::AtMost(bound));
    }

    /// The least that the figure before should be.
    pub(crate) fn at_least(&mut self, bound: f64) {
        self.set_goal(Goal::AtLeast(bound));
    }

    fn set_goal(&mut self, goal: Goal) {
        let figure = self.figures.last_mut().expect("a goal is of the figure before it");
        figure.goal = Some(goal);
    }
}

impl Figure {
    fn is_missed(&self) -> bool {
        // A figure that is no number meets no goal.
        let is_met = match self.goal {
            None => true,
            Some(Goal::AtMost(most)) => self.value <= most,
            Some(Goal::AtLeast(least)) => self.value >= least,
        };
        !is_met
    }
}

impl Report {
    /// The figures that miss their goals.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &Figure> {
        self.sections.iter().flat_map(|section| &section.figures).filter(|figure| figure.is_missed())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}", self.taskhost, self.machine)?;
        if !self.optimised {
            writeln!(f, "NOT OPTIMISED: these figures mean nothing")?;
        }
        self.sections.iter().try_for_each(|section| write!(f, "\n{section}"))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n$ {}", self.title, self.command)?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, goal, .. } = self;
        let (value, unit) = (number(*value), unit.to_string());
        write!(f, "  {name:<NAME_COLUMNS$}{value:>VALUE_COLUMNS$}")?;
        let (sign, bound) = match goal {
            None if unit.is_empty() => return Ok(()),
            None => return write!(f, " {unit}"),
            Some(Goal::AtMost(most)) => ('≤', most),
            Some(Goal::AtLeast(least)) => ('≥', least),
        };
        let verdict = if self.is_missed() { "MISSED" } else { "ok" };
        write!(f, " {unit:<UNIT_COLUMNS$}{sign} {} {verdict}", number(*bound))
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "",
            Self::PerSecond => "/s",
            Self::Percent => "%",
            Self::Times => "×",
            Self::Us => "µs",
            Self::Ms => "ms",
            Self::S => "s",
            Self::KiB => "KiB",
            Self::MiB => "MiB",
        })
    }
}

/// A number with about three digits that say something, and thousands apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        whole if whole.fract() == 0.0 => 0,
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, ""), |(whole, _)| (whole, &digits[whole.len()..]));
    format!("{sign}{}{fraction}", thousands_apart(whole))
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(value: u64) -> String {
    thousands_apart(&value.to_string())
}

fn thousands_apart(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The value below which this part of the (sorted) `values` lies, nearest rank; zero if there are none.
pub(crate) fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    let rank = (values.len() as f64 * part).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The middle of the values, or the mean of the two in the middle; no number if there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_show_the_digits_that_matter() {
        for (value, text) in [
            (0.0, "0"),
            (10_000.0, "10,000"),
            (1_234_567.8, "1,234,568"),
            (-0.123, "-0.12"),
            (9.876, "9.88"),
            (98.76, "98.8"),
            (987.6, "988"),
            (-1234.5, "-1,234"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_line_fits_into_80_columns_with_its_goal() {
        let mut section = Section::new("title", "taskbench");
        section.goal("lateness p99", 123_456.0, Unit::Ms, 1_000.0);
        section.goal("lateness p50", 10.0, Unit::Ms, 10.0);
        let text = section.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("≤ 1,000 MISSED") && text.contains("≤ 10 ok"), "{text}");
        assert_eq!(section.figures.iter().filter(|figure| figure.is_missed()).count(), 1);
    }

    #[test]
    fn a_goal_may_be_the_least_and_what_was_not_measured_misses_it() {
        let mut section = Section::new("title", "taskbench");
        for (value, at_least) in [(0.66, 0.65), (0.64, 0.65), (f64::NAN, 0.65)] {
            section.figure("ticks over the raw loop", value, Unit::Times);
            section.at_least(at_least);
        }
        assert!(section.to_string().contains("≥ 0.65 ok"), "{section}");
        assert_eq!(section.figures.iter().map(Figure::is_missed).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn what_was_sampled_shows_its_median_and_keeps_its_samples() {
        let mut section = Section::new("title", "taskbench");
        section.median("CPU per tick", vec![9.0, 1.0, 2.0], Unit::Us);
        assert!(section.to_string().contains("2 µs"), "{section}");
        let json = serde_json::to_value(&section.figures[0]).expect("plain values");
        assert_eq!(json["samples"], serde_json::json!([9.0, 1.0, 2.0]));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&mut values, 0.5), Duration::from_millis(50));
        assert_eq!(quantile(&mut values, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&mut values, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&mut [], 0.5), Duration::ZERO);
    }
}
