//! Pieces of text, and how they look.

/// How a piece of text looks where colour is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Warning,
}

impl Style {
    /// `text`, which must be escaped already, in this style.
    pub(crate) fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warning => "33",
            Self::Plain => return text.to_owned(),
        };
        if colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// That of an outcome or a state.
    pub(crate) fn of_outcome(outcome: &str) -> Self {
        match outcome {
            "success" => Self::Good,
            "queued" | "running" => Self::Plain,
            "skipped" | "missed" | "cancelled" | "retrying" => Self::Warning,
            _ => Self::Bad,
        }
    }
}

/// A piece of text as it came, and how it looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Style::Plain)
    }

    pub(crate) fn bold(text: impl Into<String>) -> Self {
        Self::new(text, Style::Bold)
    }

    pub(crate) fn outcome(outcome: &str) -> Self {
        Self::new(outcome, Style::of_outcome(outcome))
    }
}
