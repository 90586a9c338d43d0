//! Labels, and the selectors that pick tasks by them. The syntax is that of Kubernetes' equality-based selectors.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The longest key, and the longest value, in bytes.
pub const MAX_LABEL_BYTES: usize = 63;

/// Why a label or selector is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error(
        "the label key `{0}` is empty, longer than 63 bytes, or has a character other than letters, digits and `-_./`"
    )]
    Key(String),
    #[error(
        "the value `{value}` of label `{key}` is longer than 63 bytes, or has a character other than letters, digits and `-_./:@+`"
    )]
    Value { key: String, value: String },
    #[error("`{0}` is no selector; write it like `team=web,env!=dev,owner,!legacy`")]
    Selector(String),
}

/// Checks one label.
pub fn check_label(key: &str, value: &str) -> Result<(), LabelError> {
    let plain = |text: &str, also: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c));
    let quoted = |text: &str| text.chars().take(40).collect::<String>().escape_debug().to_string();
    if key.is_empty() || key.len() > MAX_LABEL_BYTES || !plain(key, "-_./") {
        Err(LabelError::Key(quoted(key)))
    } else if value.len() > MAX_LABEL_BYTES || !plain(value, "-_./:@+") {
        Err(LabelError::Value { key: key.to_owned(), value: quoted(value) })
    } else {
        Ok(())
    }
}

/// Picks tasks by their labels: all of its terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Selector {
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
            Term::HasNot(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for Selector {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        text.split(',').map(|term| parse_term(term.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_term(text: &str) -> Result<Term, LabelError> {
    let term = if let Some((key, value)) = text.split_once("!=") {
        Term::IsNot(key.to_owned(), value.to_owned())
    } else if let Some((key, value)) = text.split_once('=') {
        // `==` is the same, as in Kubernetes.
        Term::Is(key.to_owned(), value.strip_prefix('=').unwrap_or(value).to_owned())
    } else if let Some(key) = text.strip_prefix('!') {
        Term::HasNot(key.to_owned())
    } else {
        Term::Has(text.to_owned())
    };
    let (key, value) = match &term {
        Term::Is(key, value) | Term::IsNot(key, value) => (key, value.as_str()),
        Term::Has(key) | Term::HasNot(key) => (key, ""),
    };
    check_label(key, value)
        .map_err(|_| LabelError::Selector(text.chars().take(80).collect::<String>().escape_debug().to_string()))?;
    Ok(term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_picks_by_all_of_its_terms() {
        let labels = BTreeMap::from([("team".to_owned(), "web".to_owned()), ("env".to_owned(), "prod".to_owned())]);
        for (selector, picked) in [
            ("team=web", true),
            ("team==web,env!=dev", true),
            ("team=web,env=dev", false),
            ("team, !legacy", true),
            ("!team", false),
            ("owner", false),
            ("owner!=me", true),
        ] {
            assert_eq!(selector.parse::<Selector>().expect(selector).matches(&labels), picked, "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for selector in ["", ",", "a=b,", "=b", "a b", "a=\u{1b}"] {
            assert!(matches!(selector.parse::<Selector>(), Err(LabelError::Selector(_))), "{selector:?}");
        }
    }
}
