//! What a plugin says of itself, read from its custom sections without running it: names and texts as wasm-metadata writes them,
//! what it was made with, and its manifest.
//!
//! A stranger wrote them. Texts are cut, whatever is no text or damaged in them is passed over, and nothing is read whose size is
//! not bounded before. A manifest that is damaged, or that asks for what the plugin could not use, is a problem: whoever relied
//! on it would be told wrong things.
//!
//! The crate wasm-metadata reads the same sections. It is not used for that, since it unpacks what is compressed in them
//! (`.dep-v0`), keeps all names of all functions, and reads those of everything that is nested.

use std::sync::Arc;

use taskhost_core::manifest::{
    About, MANIFEST_SECTION, MAX_MANIFEST_BYTES, Manifest, ManifestError, Need, NeedKind, Tool,
};
use taskhost_core::outcome::cut;
use taskhost_core::told::told;
use wasmparser::{ComponentName, CustomSectionReader, KnownCustom, Name};

use crate::problem::Problem;

/// How much of a text is kept, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// How much of a tool's name or version is kept, in bytes.
const MAX_TOOL_BYTES: usize = 100;

/// The most tools that are kept.
const MAX_TOOLS: usize = 16;

/// The most entries that are read of what a plugin was made with: each is compared with those that are kept.
const MAX_PRODUCERS: usize = 1_000;

/// How much of a grant's name a message repeats.
const MAX_NEED_CHARS: usize = 120;

/// Where a text goes.
type Place = fn(&mut About) -> &mut Option<String>;

/// The sections that are texts, by what they are called.
pub(crate) const TEXTS: [(&str, Place); 7] = [
    ("version", |about| &mut about.version),
    ("description", |about| &mut about.description),
    ("authors", |about| &mut about.authors),
    ("licenses", |about| &mut about.licenses),
    ("source", |about| &mut about.source),
    ("homepage", |about| &mut about.homepage),
    ("revision", |about| &mut about.revision),
];

/// What imports make a grant usable, by how they begin.
const USABLE_BY: [(NeedKind, &[&str]); 6] = [
    (NeedKind::Env, &["wasi:cli/environment@", "wasi_snapshot_preview1.environ_get"]),
    (NeedKind::Dir, &["wasi:filesystem/", "wasi_snapshot_preview1.path_", "wasi_snapshot_preview1.fd_prestat_"]),
    (NeedKind::Host, &["wasi:http/outgoing-handler@", "wasi:http/client@", "wasi:sockets/"]),
    (NeedKind::Config, &["wasi:config/"]),
    (NeedKind::Secret, &["wasi:config/"]),
    (NeedKind::Kv, &["wasi:keyvalue/"]),
];

/// Whether a plugin with these imports could use a grant of this kind.
pub fn can_use(kind: NeedKind, imports: &[String]) -> bool {
    usable_by(kind).iter().any(|begin| imports.iter().any(|import| import.starts_with(begin)))
}

fn usable_by(kind: NeedKind) -> &'static [&'static str] {
    USABLE_BY.iter().find(|(usable, _)| *usable == kind).map_or(&[], |(_, begins)| begins)
}

/// What was found in custom sections, while a plugin is walked.
#[derive(Default)]
pub(crate) struct Sections {
    about: About,
    manifests: usize,
    /// The bytes of the first manifest, if they are not too many.
    manifest: Option<Result<Vec<u8>, ManifestError>>,
    producers: usize,
}

impl Sections {
    /// Takes what a section of the outermost component or module says.
    pub(crate) fn add(&mut self, section: &CustomSectionReader<'_>) {
        if section.name() == MANIFEST_SECTION {
            self.manifests += 1;
            self.manifest.get_or_insert_with(|| match section.data().len() {
                bytes if bytes > MAX_MANIFEST_BYTES => Err(ManifestError::TooLarge(bytes)),
                _ => Ok(section.data().to_vec()),
            });
            return;
        }
        if let Some((_, of)) = TEXTS.iter().find(|(name, _)| *name == section.name()) {
            *of(&mut self.about) = text(section.data());
            return;
        }
        match section.as_known() {
            KnownCustom::Name(names) => {
                let name = names.into_iter().map_while(Result::ok).find_map(|name| match name {
                    Name::Module { name, .. } => Some(name),
                    _ => None,
                });
                self.about.name = name.and_then(|name| text(name.as_bytes()));
            }
            KnownCustom::ComponentName(names) => {
                let name = names.into_iter().map_while(Result::ok).find_map(|name| match name {
                    ComponentName::Component { name, .. } => Some(name),
                    _ => None,
                });
                self.about.name = name.and_then(|name| text(name.as_bytes()));
            }
            _ => self.add_nested(section),
        }
    }

    /// Takes what a section says of something that is nested: which language it was, is only known in there.
    pub(crate) fn add_nested(&mut self, section: &CustomSectionReader<'_>) {
        // Asked first, since making sense of others may cost something.
        if section.name() != "producers" {
            return;
        }
        let KnownCustom::Producers(fields) = section.as_known() else { return };
        for field in fields.into_iter().map_while(Result::ok) {
            for value in field.values.into_iter().map_while(Result::ok) {
                self.producers += 1;
                if self.producers > MAX_PRODUCERS {
                    return;
                }
                let kept = |text: &str| cut(text, MAX_TOOL_BYTES).to_owned();
                let tool = Tool { role: field.name.to_owned(), name: kept(value.name), version: kept(value.version) };
                let toolchain = &mut self.about.toolchain;
                if toolchain.len() < MAX_TOOLS && !toolchain.contains(&tool) {
                    toolchain.push(tool);
                }
            }
        }
    }

    /// All that was found, and what is wrong with it for a plugin with these imports.
    pub(crate) fn read(self, imports: &[String]) -> (About, Vec<Problem>) {
        let Self { mut about, manifests, manifest, .. } = self;
        about.toolchain.sort_by(|one, other| one.role.cmp(&other.role));
        let manifest = manifest.map(|json| json.and_then(|json| Manifest::parse(&json)));
        let problems = match manifest {
            None => Vec::new(),
            Some(_) if manifests > 1 => vec![Problem {
                message: format!("the plugin has {manifests} sections `{MANIFEST_SECTION}`, and may have one"),
                hint: Some(PACK_AGAIN.to_owned()),
            }],
            Some(Err(error)) => {
                let hint = match &error {
                    ManifestError::Version(_) => {
                        "write it as this host knows it, with `taskhost pack`, or use a newer host"
                    }
                    _ => PACK_AGAIN,
                };
                vec![Problem { message: error.to_string(), hint: Some(hint.to_owned()) }]
            }
            Some(Ok(manifest)) => {
                let problems = contradictions(&manifest, imports);
                about.manifest = problems.is_empty().then(|| Arc::new(manifest));
                problems
            }
        };
        (about, problems)
    }
}

const PACK_AGAIN: &str = "write it with `taskhost pack`, which checks it";

/// What a manifest asks for that the plugin could not use.
fn contradictions(manifest: &Manifest, imports: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut told_kinds = Vec::new();
    for need in manifest.grants.iter().filter(|need| !can_use(need.kind, imports)) {
        // One of a kind tells all about it.
        if !told_kinds.contains(&need.kind) {
            told_kinds.push(need.kind);
            problems.push(contradiction(&named(need), need.kind));
        }
    }
    if manifest.config.is_some() && !can_use(NeedKind::Config, imports) && !told_kinds.contains(&NeedKind::Config) {
        problems.push(contradiction("settings (`config`)", NeedKind::Config));
    }
    problems
}

fn named(need: &Need) -> String {
    let kind = need.kind.as_str();
    match &need.value {
        Some(value) => format!("the grant `{kind}` {}", told(value, MAX_NEED_CHARS)),
        None => format!("the grant `{kind}`"),
    }
}

fn contradiction(what: &str, kind: NeedKind) -> Problem {
    let imports: Vec<_> = usable_by(kind).iter().map(|begin| format!("`{}`", begin.trim_end_matches('@'))).collect();
    Problem {
        message: format!(
            "the manifest names {what}, and the plugin could not use it: it imports nothing that begins with {}",
            imports.join(" or ")
        ),
        hint: Some(
            "take it out of the manifest, or use it in the plugin: compilers drop imports that are not used".to_owned(),
        ),
    }
}

/// A text, cut; `None` if it is empty.
fn text(bytes: &[u8]) -> Option<String> {
    // A letter has at most four bytes, and may be cut in the middle.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT_BYTES + 4)]);
    let text = cut(text.trim(), MAX_TEXT_BYTES);
    (!text.is_empty()).then(|| text.to_owned())
}
