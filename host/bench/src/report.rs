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
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    /// The most that it should be, where there is a goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<f64>,
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
        Self { title: title.into(), command: command.into(), figures: Vec::new() }
    }

    pub(crate) fn figure(&mut self, name: impl Into<Cow<'static, str>>, value: f64, unit: Unit) {
        self.figures.push(Figure { name: name.into(), value, unit, at_most: None });
    }

    /// A figure that should be `at_most` this.
    pub(crate) fn goal(&mut self, name: &'static str, value: f64, unit: Unit, at_most: f64) {
        self.figures.push(Figure { name: name.into(), value, unit, at_most: Some(at_most) });
    }
}

impl Figure {
    fn is_missed(&self) -> bool {
        self.at_most.is_some_and(|most| self.value > most)
    }
}

impl Report {
    /// The figures that should be less.
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
        self.figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, at_most } = self;
        let (value, unit) = (number(*value), unit.to_string());
        write!(f, "  {name:<NAME_COLUMNS$}{value:>VALUE_COLUMNS$}")?;
        match at_most {
            None if unit.is_empty() => Ok(()),
            None => write!(f, " {unit}"),
            Some(most) => {
                let verdict = if self.is_missed() { "MISSED" } else { "ok" };
                write!(f, " {unit:<UNIT_COLUMNS$}≤ {} {verdict}", number(*most))
            }
        }
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
    let mut grouped = String::with_capacity(text.len() + whole.len() / 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
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
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&mut values, 0.5), Duration::from_millis(50));
        assert_eq!(quantile(&mut values, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&mut values, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&mut [], 0.5), Duration::ZERO);
    }
}
