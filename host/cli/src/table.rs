//! Tables: one row a line whatever is in it, so that `grep` and eyes find it; cut to the terminal where there is one.

use console::{measure_text_width, truncate_str};

use crate::cell::Cell;
use crate::text::escape;

/// Between two columns.
const GAP: &str = "  ";

/// What a column is never cut below, in columns of the terminal.
const MIN_COLUMN_WIDTH: usize = 4;

/// A column: its title, and how it is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    elastic: bool,
}

impl Column {
    /// Text, which keeps its width as long as the table fits.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self { title, right: false, elastic: false }
    }

    /// Text, which is cut first when the table doesn't fit.
    pub(crate) const fn elastic(title: &'static str) -> Self {
        Self { title, right: false, elastic: true }
    }

    /// A number.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { title, right: true, elastic: false }
    }
}

/// The table as text: at most `width` columns wide where that is possible, and in colour if `colour`.
pub(crate) fn render<const N: usize>(
    columns: &[Column; N],
    rows: &[[Cell; N]],
    width: Option<usize>,
    colour: bool,
) -> String {
    let rows: Vec<[Cell; N]> = rows.iter().map(|row| row.each_ref().map(one_line)).collect();
    let mut widths = columns.map(|column| measure_text_width(column.title));
    for row in &rows {
        for (cell, widest) in row.iter().zip(&mut widths) {
            *widest = measure_text_width(&cell.text).max(*widest);
        }
    }
    if let Some(width) = width {
        shrink(columns, &mut widths, width.saturating_sub(GAP.len() * N.saturating_sub(1)));
    }

    let header = columns.map(|column| Cell::bold(column.title));
    let mut table = String::new();
    for row in std::iter::once(&header).chain(&rows) {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(columns).zip(widths) {
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let shown = truncate_str(&cell.text, width, "…");
            let padding = " ".repeat(width.saturating_sub(measure_text_width(&shown)));
            let painted = cell.style.paint(&shown, colour);
            let (before, after) = if column.right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.extend([before, &painted, after]);
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// A cell escaped, and its tabs with it: their width is not known.
fn one_line(cell: &Cell) -> Cell {
    Cell { text: escape(&cell.text).replace('\t', " "), style: cell.style }
}

/// Takes from the widest elastic column, and from the widest of all when those are at their least, until `room` is enough.
fn shrink<const N: usize>(columns: &[Column; N], widths: &mut [usize; N], room: usize) {
    let mut excess = widths.iter().sum::<usize>().saturating_sub(room);
    for only_elastic in [true, false] {
        while excess > 0 {
            let shrinkable =
                (0..N).filter(|&at| widths[at] > MIN_COLUMN_WIDTH && (columns[at].elastic || !only_elastic));
            let Some(widest) = shrinkable.max_by_key(|&at| widths[at]) else { break };
            widths[widest] -= 1;
            excess -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::elastic("NAME"), Column::text("STATE"), Column::number("RUNS")];

    fn rows() -> [[Cell; 3]; 2] {
        [
            [Cell::plain("a-name-that-goes-on-and-on"), Cell::plain("idle"), Cell::plain("1")],
            [Cell::plain("日本\x1b[31m\tx"), Cell::plain("running"), Cell::plain("12345")],
        ]
    }

    #[test]
    fn columns_line_up_and_nothing_is_cut_without_a_terminal() {
        insta::assert_snapshot!(render(&COLUMNS, &rows(), None, false));
    }

    #[test]
    fn the_elastic_column_is_cut_to_the_terminal() {
        let table = render(&COLUMNS, &rows(), Some(30), false);
        assert!(table.lines().all(|line| measure_text_width(line) <= 30), "{table}");
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_narrow_terminal_gets_what_fits() {
        let table = render(&COLUMNS, &rows(), Some(16), false);
        assert!(table.lines().all(|line| measure_text_width(line) <= 16), "{table}");
    }

    #[test]
    fn colour_changes_no_width() {
        let plain = render(&COLUMNS, &rows(), Some(40), false);
        let coloured = render(&COLUMNS, &rows(), Some(40), true);
        assert_ne!(plain, coloured);
        let stripped = console::strip_ansi_codes(&coloured);
        let trimmed: Vec<_> = stripped.lines().map(str::trim_end).collect();
        assert_eq!(trimmed, plain.lines().collect::<Vec<_>>());
    }
}
