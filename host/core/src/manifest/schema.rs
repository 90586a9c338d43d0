//! The JSON Schema of a plugin's settings: read, bounded, and held against what a task is granted.
//!
//! It comes from a stranger, and is applied by the host. So it has only the keywords that make sense for an object of texts, none
//! that refers to another place (with which a schema of a few kilobytes takes for ever, or until the stack is full), and bounds
//! of depth, size and patterns; every schema in it is applied at most once to each setting. Keywords mean what JSON Schema
//! 2020-12 says.
//!
//! The crate jsonschema does all of JSON Schema. It is not used: what it does beyond this would have to be denied to strangers
//! here all the same, and it brings 29 crates.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::spec::Grants;
use crate::told::told;

/// How deep schemas may stand within each other.
const MAX_DEPTH: usize = 8;
/// The most schemas in one, itself among them.
const MAX_SCHEMAS: usize = 1_000;
/// The most patterns in one, and what each may become when it is compiled, in bytes.
const MAX_PATTERNS: usize = 64;
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// The most complaints that a message has.
const MAX_COMPLAINTS: usize = 8;
/// How much of a name or value a message repeats.
const MAX_TOLD_CHARS: usize = 100;

/// The dialect, and the only one.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Every keyword.
const KEYWORDS: [&str; 27] = [
    "$comment",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "format",
    "if",
    "maxLength",
    "maxProperties",
    "minLength",
    "minProperties",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "properties",
    "required",
    "then",
    "title",
];

/// A schema, ready to be applied.
#[derive(Debug)]
pub(super) enum Schema {
    /// `true` or `false`.
    Constant(bool),
    Rules(Box<Rules>),
}

/// What a schema asks for. What is absent asks for nothing.
#[derive(Debug, Default)]
pub(super) struct Rules {
    types: Option<Vec<String>>,
    values: Option<Vec<Value>>,
    pattern: Option<Regex>,
    min_chars: Option<u64>,
    max_chars: Option<u64>,
    properties: BTreeMap<String, Schema>,
    pattern_properties: Vec<(Regex, Schema)>,
    additional_properties: Option<Schema>,
    required: Vec<String>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    dependent_required: BTreeMap<String, Vec<String>>,
    all_of: Vec<Schema>,
    any_of: Option<Vec<Schema>>,
    one_of: Option<Vec<Schema>>,
    not: Option<Schema>,
    condition: Option<Schema>,
    then: Option<Schema>,
    otherwise: Option<Schema>,
}

impl Schema {
    /// Reads the schema of an object of settings.
    pub(super) fn parse(json: &Value) -> Result<Self, String> {
        let schema = Reader::default().schema(json, 0)?;
        if let Self::Rules(rules) = &schema {
            if !rules.allow_type("object") {
                return Err("the settings are an object, and the schema's `type` is another".to_owned());
            }
            for (name, setting) in &rules.properties {
                if let Self::Rules(setting) = setting
                    && !setting.allow_type("string")
                {
                    let name = told(name, MAX_TOLD_CHARS);
                    return Err(format!(
                        "the setting `{name}` has a `type` that is not `string`, and settings are texts; \
                         a `pattern` tells what it looks like"
                    ));
                }
            }
        }
        Ok(schema)
    }

    /// The settings that must be there, as far as it says so at its top.
    pub(super) fn required(&self) -> &[String] {
        match self {
            Self::Constant(_) => &[],
            Self::Rules(rules) => &rules.required,
        }
    }

    /// What is wrong with the settings of a task; empty if nothing is. That one of [`required`](Self::required) is missing is not
    /// told.
    pub(super) fn complaints(&self, grants: &Grants) -> Vec<String> {
        let config = grants.config.iter().map(|(name, value)| (name.as_str(), Setting::Text(value)));
        let secrets = grants.secrets.iter().map(|secret| (secret.as_str(), Setting::Secret));
        let settings = Settings(config.chain(secrets).collect());
        let mut complaints = Complaints::default();
        match self {
            Self::Constant(true) => {}
            Self::Constant(false) => complaints.add(None, "it takes none at all".to_owned()),
            Self::Rules(rules) => {
                let there = |name: &&String| settings.0.contains_key(name.as_str());
                // What is missing is told with how to give it, by the caller.
                let missing = rules.required.iter().filter(|name| !there(name)).count();
                rules.apply(&settings, missing == 0, &mut complaints);
            }
        }
        complaints.0
    }

    /// Whether the settings are as it says.
    fn fits(&self, settings: &Settings<'_>) -> bool {
        let mut complaints = Complaints::default();
        match self {
            Self::Constant(fits) => return *fits,
            Self::Rules(rules) => rules.apply(settings, true, &mut complaints),
        }
        complaints.0.is_empty()
    }

    /// Adds what is wrong with one setting. A secret fits wherever something does, for nobody knows its value.
    fn apply_to(&self, name: &str, setting: Setting<'_>, complaints: &mut Complaints) {
        match (self, setting) {
            (Self::Constant(false), _) => complaints.add(Some(name), "there is no such setting".to_owned()),
            (Self::Constant(true), _) | (Self::Rules(_), Setting::Secret) => {}
            (Self::Rules(rules), Setting::Text(text)) => rules.apply_to_text(name, text, complaints),
        }
    }
}

/// A setting as a task has it.
#[derive(Clone, Copy)]
enum Setting<'a> {
    Text(&'a str),
    /// Its value is known to nobody now.
    Secret,
}

struct Settings<'a>(BTreeMap<&'a str, Setting<'a>>);

#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    /// Adds what is wrong, with a setting or with all of them.
    fn add(&mut self, name: Option<&str>, what: String) {
        if self.0.len() < MAX_COMPLAINTS {
            self.0.push(match name {
                Some(name) => format!("`{}`: {what}", told(name, MAX_TOLD_CHARS)),
                None => what,
            });
        }
    }
}

impl Rules {
    fn allow_type(&self, wanted: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|ty| ty == wanted))
    }

    /// What asks the same of texts and of all settings together; `fits` says whether a schema does.
    fn apply_combined(&self, name: Option<&str>, fits: impl Fn(&Schema) -> bool, complaints: &mut Complaints) {
        let count = |schemas: &[Schema]| schemas.iter().filter(|schema| fits(schema)).count();
        if self.any_of.as_ref().is_some_and(|schemas| count(schemas) == 0) {
            complaints.add(name, "it is as none of `anyOf` says".to_owned());
        }
        if self.one_of.as_ref().is_some_and(|schemas| count(schemas) != 1) {
            complaints.add(name, "it is not as exactly one of `oneOf` says".to_owned());
        }
        if self.not.as_ref().is_some_and(&fits) {
            complaints.add(name, "it is as `not` says that it may not be".to_owned());
        }
    }

    /// Which of `then` and `else` holds.
    fn consequence(&self, fits: impl Fn(&Schema) -> bool) -> Option<&Schema> {
        let condition = self.condition.as_ref()?;
        if fits(condition) { self.then.as_ref() } else { self.otherwise.as_ref() }
    }

    /// Adds what is wrong with the settings as a whole, and with each.
    fn apply(&self, settings: &Settings<'_>, with_required: bool, complaints: &mut Complaints) {
        let there = |name: &str| settings.0.contains_key(name);
        let quoted = |name: &str| format!("`{}`", told(name, MAX_TOLD_CHARS));
        if !self.allow_type("object") || self.values.is_some() {
            complaints.add(None, "they are not what `type`, `enum` or `const` says".to_owned());
        }
        if with_required {
            for name in self.required.iter().filter(|name| !there(name)) {
                complaints.add(None, format!("{} is missing", quoted(name)));
            }
        }
        for (name, needed) in self.dependent_required.iter().filter(|(name, _)| there(name)) {
            for needed in needed.iter().filter(|needed| !there(needed)) {
                complaints.add(None, format!("{} is missing, which goes with {}", quoted(needed), quoted(name)));
            }
        }
        let count = settings.0.len() as u64;
        if self.min_properties.is_some_and(|min| count < min) || self.max_properties.is_some_and(|max| count > max) {
            complaints.add(None, format!("{count} are too few or too many"));
        }
        for (name, setting) in &settings.0 {
            let named = self.properties.get(*name);
            let mut schemas: Vec<_> = named.into_iter().collect();
            let patterns = self.pattern_properties.iter().filter(|(pattern, _)| pattern.is_match(name));
            schemas.extend(patterns.map(|(_, schema)| schema));
            if schemas.is_empty() {
                schemas.extend(&self.additional_properties);
            }
            for schema in schemas {
                schema.apply_to(name, *setting, complaints);
            }
        }
        let fits = |schema: &Schema| schema.fits(settings);
        self.apply_combined(None, fits, complaints);
        for schema in self.all_of.iter().chain(self.consequence(fits)) {
            match schema {
                Schema::Constant(true) => {}
                Schema::Constant(false) => complaints.add(None, "they may not be together".to_owned()),
                Schema::Rules(rules) => rules.apply(settings, true, complaints),
            }
        }
    }

    /// Adds what is wrong with a text.
    fn apply_to_text(&self, name: &str, text: &str, complaints: &mut Complaints) {
        let quoted = || format!("\"{}\"", told(text, MAX_TOLD_CHARS));
        if !self.allow_type("string") {
            complaints.add(Some(name), "it may not be a text, as every setting is".to_owned());
        }
        if let Some(values) = &self.values
            && !values.iter().any(|value| value == text)
        {
            let values: Vec<_> = values.iter().map(|value| told(value, MAX_TOLD_CHARS)).collect();
            complaints
                .add(Some(name), format!("{} is none of {}", quoted(), told(values.join(", "), 4 * MAX_TOLD_CHARS)));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let pattern = told(pattern, MAX_TOLD_CHARS);
            complaints.add(Some(name), format!("{} does not match the pattern `{pattern}`", quoted()));
        }
        let chars = text.chars().count() as u64;
        if let Some(min) = self.min_chars.filter(|min| chars < *min) {
            complaints.add(Some(name), format!("{} has {chars} characters; at least {min} are needed", quoted()));
        }
        if let Some(max) = self.max_chars.filter(|max| chars > *max) {
            complaints.add(Some(name), format!("{} has {chars} characters; at most {max} are allowed", quoted()));
        }
        let fits = |schema: &Schema| {
            let mut complaints = Complaints::default();
            schema.apply_to(name, Setting::Text(text), &mut complaints);
            complaints.0.is_empty()
        };
        self.apply_combined(Some(name), fits, complaints);
        for schema in self.all_of.iter().chain(self.consequence(fits)) {
            schema.apply_to(name, Setting::Text(text), complaints);
        }
    }
}

/// Reads schemas, and counts what is in them.
#[derive(Default)]
struct Reader {
    schemas: usize,
    patterns: usize,
}

impl Reader {
    fn schema(&mut self, json: &Value, depth: usize) -> Result<Schema, String> {
        self.schemas += 1;
        if self.schemas > MAX_SCHEMAS || depth > MAX_DEPTH {
            return Err(format!(
                "a schema of settings has at most {MAX_SCHEMAS} schemas in it, and {MAX_DEPTH} within each other"
            ));
        }
        let members = match json {
            Value::Bool(fits) => return Ok(Schema::Constant(*fits)),
            Value::Object(members) => members,
            _ => return Err("a schema is an object, `true` or `false`".to_owned()),
        };
        let mut rules = Rules::default();
        for (keyword, value) in members {
            self.keyword(&mut rules, keyword, value, depth + 1)?;
        }
        Ok(Schema::Rules(Box::new(rules)))
    }

    fn keyword(&mut self, rules: &mut Rules, keyword: &str, value: &Value, depth: usize) -> Result<(), String> {
        match keyword {
            "type" => rules.types = Some(types(value)?),
            "enum" => {
                let values = value.as_array().ok_or("`enum` has a list as its value")?;
                rules.values = Some(values.clone());
            }
            "const" => rules.values = Some(vec![value.clone()]),
            "pattern" => rules.pattern = Some(self.pattern(text(keyword, value)?)?),
            "minLength" => rules.min_chars = Some(number(keyword, value)?),
            "maxLength" => rules.max_chars = Some(number(keyword, value)?),
            "properties" => {
                for (name, schema) in object(keyword, value)? {
                    rules.properties.insert(name.clone(), self.schema(schema, depth)?);
                }
            }
            "patternProperties" => {
                for (pattern, schema) in object(keyword, value)? {
                    rules.pattern_properties.push((self.pattern(pattern)?, self.schema(schema, depth)?));
                }
            }
            "additionalProperties" => rules.additional_properties = Some(self.schema(value, depth)?),
            "required" => rules.required = texts(keyword, value)?,
            "minProperties" => rules.min_properties = Some(number(keyword, value)?),
            "maxProperties" => rules.max_properties = Some(number(keyword, value)?),
            "dependentRequired" => {
                for (name, needed) in object(keyword, value)? {
                    rules.dependent_required.insert(name.clone(), texts(keyword, needed)?);
                }
            }
            "allOf" => rules.all_of = self.several(keyword, value, depth)?,
            "anyOf" => rules.any_of = Some(self.several(keyword, value, depth)?),
            "oneOf" => rules.one_of = Some(self.several(keyword, value, depth)?),
            "not" => rules.not = Some(self.schema(value, depth)?),
            "if" => rules.condition = Some(self.schema(value, depth)?),
            "then" => rules.then = Some(self.schema(value, depth)?),
            "else" => rules.otherwise = Some(self.schema(value, depth)?),
            "$schema" if value != DIALECT => {
                return Err(format!("`$schema` is not `{DIALECT}`, the one dialect that is known"));
            }
            "$comment" | "title" | "description" | "format" => drop(text(keyword, value)?),
            "$schema" | "default" | "examples" | "deprecated" => {}
            _ => {
                let keyword = told(keyword, MAX_TOLD_CHARS);
                let known = KEYWORDS.join("`, `");
                return Err(format!(
                    "`{keyword}` is no keyword of a schema of settings; there are `{known}` and `type`"
                ));
            }
        }
        Ok(())
    }

    fn several(&mut self, keyword: &str, value: &Value, depth: usize) -> Result<Vec<Schema>, String> {
        let schemas = value.as_array().filter(|schemas| !schemas.is_empty());
        let schemas = schemas.ok_or_else(|| format!("`{keyword}` has a list of schemas as its value"))?;
        schemas.iter().map(|schema| self.schema(schema, depth)).collect()
    }

    /// The time that a match takes is bounded by the lengths of pattern and text, as of all that this engine takes.
    fn pattern(&mut self, pattern: &str) -> Result<Regex, String> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(format!("a schema of settings has at most {MAX_PATTERNS} patterns"));
        }
        let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES).build();
        built.map_err(|error| {
            let error = error.to_string();
            // The last line is the reason; those before it draw where.
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the pattern `{}` is none: {}", told(pattern, MAX_TOLD_CHARS), told(reason, MAX_TOLD_CHARS))
        })
    }
}

fn types(value: &Value) -> Result<Vec<String>, String> {
    const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
    let types = match value {
        Value::String(one) => vec![one.clone()],
        several => texts("type", several)?,
    };
    match types.iter().find(|ty| !TYPES.contains(&ty.as_str())) {
        Some(other) => {
            Err(format!("`{}` is no `type`; there are `{}`", told(other, MAX_TOLD_CHARS), TYPES.join("`, `")))
        }
        None => Ok(types),
    }
}

fn text<'a>(keyword: &str, value: &'a Value) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("`{keyword}` has a text as its value"))
}

fn number(keyword: &str, value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("`{keyword}` has a whole number from 0 as its value"))
}

fn object<'a>(keyword: &str, value: &'a Value) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("`{keyword}` has an object as its value"))
}

/// Texts, each of them once.
fn texts(keyword: &str, value: &Value) -> Result<Vec<String>, String> {
    let texts: Option<Vec<String>> =
        value.as_array().and_then(|texts| texts.iter().map(|text| text.as_str().map(str::to_owned)).collect());
    let texts = texts.ok_or_else(|| format!("`{keyword}` has a list of texts as its value"))?;
    if texts.iter().collect::<BTreeSet<_>>().len() < texts.len() {
        return Err(format!("`{keyword}` has a text twice"));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(schema: &Value) -> String {
        Schema::parse(schema).expect_err("refused")
    }

    fn complaints(schema: &Value, settings: &[(&str, &str)]) -> Vec<String> {
        let config = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Schema::parse(schema).expect("a schema").complaints(&Grants { config, ..Grants::none() })
    }

    #[test]
    fn every_keyword_asks_for_what_it_says() {
        let of_x = |schema: Value| json!({ "properties": { "x": schema } });
        for (schema, good, bad) in [
            (of_x(json!({ "type": "string" })), &[("x", "1")][..], None),
            (of_x(json!({ "type": ["string", "null"] })), &[("x", "1")], None),
            (of_x(json!({ "enum": ["a", "b"] })), &[("x", "b")], Some(&[("x", "c")][..])),
            (of_x(json!({ "const": "a" })), &[("x", "a")], Some(&[("x", "b")])),
            (of_x(json!({ "pattern": "^[0-9]+$" })), &[("x", "80")], Some(&[("x", "80a")])),
            (of_x(json!({ "minLength": 2 })), &[("x", "äö")], Some(&[("x", "ä")])),
            (of_x(json!({ "maxLength": 2 })), &[("x", "äö")], Some(&[("x", "äöü")])),
            (of_x(json!({ "anyOf": [{ "const": "a" }, { "minLength": 2 }] })), &[("x", "bb")], Some(&[("x", "b")])),
            (of_x(json!({ "oneOf": [{ "pattern": "a" }, { "pattern": "b" }] })), &[("x", "a")], Some(&[("x", "ab")])),
            (of_x(json!({ "allOf": [{ "pattern": "a" }, { "pattern": "b" }] })), &[("x", "ab")], Some(&[("x", "a")])),
            (of_x(json!({ "not": { "const": "a" } })), &[("x", "b")], Some(&[("x", "a")])),
            (
                of_x(json!({ "if": { "pattern": "^a" }, "then": { "minLength": 2 }, "else": { "maxLength": 1 } })),
                &[("x", "ab")],
                Some(&[("x", "bb")]),
            ),
            (of_x(json!(false)), &[("y", "")], Some(&[("x", "")])),
            (json!({ "additionalProperties": false, "properties": { "x": true } }), &[("x", "")], Some(&[("y", "")])),
            (json!({ "additionalProperties": { "minLength": 1 } }), &[("x", "1")], Some(&[("x", "")])),
            (
                json!({ "patternProperties": { "^x-": { "const": "1" } }, "additionalProperties": false }),
                &[("x-a", "1")],
                Some(&[("x-a", "2")]),
            ),
            (json!({ "minProperties": 1 }), &[("x", "")], Some(&[])),
            (json!({ "maxProperties": 1 }), &[("x", "")], Some(&[("x", ""), ("y", "")])),
            (json!({ "dependentRequired": { "x": ["y"] } }), &[("x", ""), ("y", "")], Some(&[("x", "")])),
            (json!({ "anyOf": [{ "required": ["x"] }, { "required": ["y"] }] }), &[("y", "")], Some(&[("z", "")])),
            (json!({ "allOf": [{ "required": ["x"] }] }), &[("x", "")], Some(&[])),
            (json!({ "not": { "required": ["x"] } }), &[("y", "")], Some(&[("x", "")])),
            (
                json!({ "if": { "properties": { "x": { "const": "1" } } }, "then": { "required": ["y"] } }),
                &[("x", "2")],
                Some(&[("x", "1")]),
            ),
            (json!(true), &[("x", "")], None),
        ] {
            assert_eq!(complaints(&schema, good), [""; 0], "{schema}");
            assert!(bad.is_none_or(|bad| !complaints(&schema, bad).is_empty()), "{schema}");
        }
        assert_eq!(complaints(&json!({ "required": ["x"] }), &[]), [""; 0], "told as a grant that is missing");
    }

    #[test]
    fn what_is_no_schema_of_settings_is_refused_with_the_reason() {
        for keyword in ["$ref", "$dynamicRef", "$defs", "$id", "$anchor", "unevaluatedProperties", "items", "requried"]
        {
            let told = refused(&json!({ keyword: "#" }));
            assert!(told.starts_with(&format!("`{keyword}` is no keyword of a schema of settings")), "{told}");
        }
        for keyword in KEYWORDS {
            let told = Schema::parse(&json!({ keyword: null })).err().unwrap_or_default();
            assert!(!told.contains("is no keyword"), "{told}");
        }
        let mut deep = json!(true);
        for _ in 0..=MAX_DEPTH {
            deep = json!({ "not": deep });
        }
        for (schema, told) in [
            (deep, "within each other"),
            (json!({ "allOf": vec![true; MAX_SCHEMAS] }), "at most 1000"),
            (json!({ "allOf": vec![json!({ "pattern": "x" }); MAX_PATTERNS + 1] }), "at most 64 patterns"),
            (json!({ "pattern": r"(\w{1000}){1000}" }), "the pattern `(\\w{1000}){1000}` is none"),
            (json!({ "pattern": "(a" }), "the pattern `(a` is none: unclosed group"),
            (json!({ "required": "x" }), "`required` has a list of texts"),
            (json!({ "required": ["x", "x"] }), "a text twice"),
            (json!({ "minLength": -1 }), "`minLength` has a whole number"),
            (json!({ "type": "text" }), "`text` is no `type`"),
            (json!({ "type": "array" }), "settings are an object"),
            (json!({ "anyOf": [] }), "`anyOf` has a list of schemas"),
            (json!({ "properties": { "port": { "type": "integer" } } }), "settings are texts"),
            (json!({ "$schema": "http://json-schema.org/draft-07/schema#" }), "the one dialect"),
            (json!("x"), "a schema is an object"),
        ] {
            let refused = refused(&schema);
            assert!(refused.contains(told), "{refused}");
        }
    }
}
