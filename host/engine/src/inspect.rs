//! Looks into a plugin without compiling it: what it is, what it imports and exports, and what is wrong with it.

use std::thread;

use bytes::Bytes;
use sha2::{Digest, Sha256 as Sha256Hasher};
use taskhost_core::manifest::About;
use taskhost_core::plugin::{PluginKind, Sha256};
use taskhost_core::told::{told, told_lines};
use wasi_preview1_component_adapter_provider as adapter;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::about::Sections;
use crate::bounds::{self, COMPONENT_TYPE};
use crate::import::{has_function, has_interface, is_command};
use crate::linker::preview1::PREVIEW1;
use crate::problem::{MAX_DETAIL_CHARS, Problem, invalid};
use crate::wit::{self, v0_1_0};

/// What a command of preview 1 is entered by.
const START: &str = "_start";

/// The package of our contract, whatever its version.
const CONTRACT: &str = "taskhost:plugin/";

/// The stack for all that reads plugins: readers, validators and encoders go into what is nested by calling themselves.
pub(crate) const DOOR_STACK_BYTES: usize = 64 << 20;

/// The most names that a message lists.
const MAX_LISTED_NAMES: usize = 8;

/// How much of a name a message repeats.
const MAX_NAME_CHARS: usize = 120;

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub sha256: Sha256,
    pub size_bytes: u64,
    /// How it would be run; `None` if nothing in it could be.
    pub kind: Option<PluginKind>,
    /// Every import by its full name, sorted, and each once.
    pub imports: Vec<String>,
    /// Every export by its full name, sorted.
    pub exports: Vec<String>,
    /// The memories that it makes for itself, with those of all that is nested in it.
    pub memories: Vec<Memory>,
    /// What it says of itself. A manifest that is refused is among the problems, and not here.
    pub about: About,
    /// Why the host refuses it; empty if it does not. That a compiler accepts it is not said with that.
    pub problems: Vec<Problem>,
}

/// A linear memory as a plugin declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub initial_bytes: u64,
    /// `None` if it sets no bound itself.
    pub maximum_bytes: Option<u64>,
}

impl Memory {
    fn of(ty: &wasmparser::MemoryType) -> Self {
        let page_bytes = 1_u64.checked_shl(ty.page_size_log2.unwrap_or(PAGE_SIZE_LOG2)).unwrap_or(u64::MAX);
        Self {
            initial_bytes: ty.initial.saturating_mul(page_bytes),
            maximum_bytes: ty.maximum.map(|maximum| maximum.saturating_mul(page_bytes)),
        }
    }
}

/// A page of memory has 64 KiB, unless it says otherwise.
const PAGE_SIZE_LOG2: u32 = 16;

impl Inspection {
    /// What is known of a file that is not looked into.
    pub fn unread(wasm: &[u8], problems: Vec<Problem>) -> Self {
        let (sha256, size_bytes) = (sha256_of(wasm), wasm.len() as u64);
        Self {
            sha256,
            size_bytes,
            kind: None,
            imports: Vec::new(),
            exports: Vec::new(),
            memories: Vec::new(),
            about: About::default(),
            problems,
        }
    }
}

/// What a plugin is known by.
pub(crate) fn sha256_of(wasm: &[u8]) -> Sha256 {
    Sha256(Sha256Hasher::digest(wasm).into())
}

/// Looks into a file of any bytes.
///
/// # Panics
/// If the system refuses a thread.
pub fn inspect(wasm: &[u8]) -> Inspection {
    with_deep_stack(|| examine(&Bytes::copy_from_slice(wasm)).0)
}

/// Does this on a thread whose stack is [`DOOR_STACK_BYTES`] large, and waits for it.
pub(crate) fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let thread = thread::Builder::new().name("door".to_owned()).stack_size(DOOR_STACK_BYTES);
    thread::scope(|scope| {
        let thread = thread.spawn_scoped(scope, work).expect("the system has room for a thread");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The same, with the binary to compile, if there is one. Needs a deep stack.
pub(crate) fn examine(wasm: &Bytes) -> (Inspection, Option<Bytes>) {
    let mut inspection = Inspection::unread(wasm, Vec::new());
    let binary = match to_binary(wasm).and_then(|binary| read(&mut inspection, binary)) {
        Ok(binary) => Some(binary),
        Err(problem) => {
            inspection.problems.push(problem);
            None
        }
    };
    (inspection, binary)
}

/// Fills in what `binary` has, and answers with what is to be compiled.
fn read(inspection: &mut Inspection, binary: Bytes) -> Result<Bytes, Problem> {
    bounds::check(&binary)?;
    validate(&binary)?;
    let mut surface = Surface::read(&binary).map_err(|error| invalid(&error))?;
    // Of what was sent, and not of what is made of it.
    let sections = std::mem::take(&mut surface.sections);
    let binary = match surface.encoding {
        Encoding::Module if surface.has_component_type => {
            let component = to_component(&binary, &surface)?;
            surface = Surface::read(&component).map_err(|error| invalid(&error))?;
            component
        }
        _ => binary,
    };
    (inspection.kind, inspection.problems) = match surface.encoding {
        Encoding::Component => judge_component(&surface),
        Encoding::Module => judge_module(&surface),
    };
    inspection.imports = surface.import_names();
    inspection.exports = surface.export_names();
    inspection.memories = surface.memories;
    let (about, problems) = sections.read(&inspection.imports);
    inspection.about = about;
    inspection.problems.extend(problems);
    Ok(binary)
}

fn judge_component(surface: &Surface) -> (Option<PluginKind>, Vec<Problem>) {
    let exports = |wanted: &dyn Fn(&str) -> bool| surface.exports.iter().any(|export| wanted(export));
    let kind = if exports(&|export| export == v0_1_0::GUEST) {
        Some(PluginKind::Task)
    } else if exports(&is_command) {
        Some(PluginKind::Command)
    } else {
        None
    };
    let mut problems = Vec::new();
    if kind.is_none() {
        problems.push(foreign_world(surface));
    }
    let lacking: Vec<_> = surface.imports.iter().map(|(name, _)| name).filter(|name| !has_interface(name)).collect();
    if !lacking.is_empty() {
        problems.push(Problem {
            message: format!("the component imports {}, which this host does not have", list(&lacking)),
            hint: Some(format!(
                "a plugin may import WASI 0.2, {} and, in the drafts of `wit/deps`, `wasi:config`, `wasi:keyvalue` and `wasi:logging`",
                list(v0_1_0::IMPORTS)
            )),
        });
    }
    (kind, problems)
}

fn foreign_world(surface: &Surface) -> Problem {
    if let Some(export) = surface.exports.iter().find(|export| export.starts_with(CONTRACT)) {
        return Problem {
            message: format!("the component exports {}, but this host serves {}", list(&[export]), list(wit::SERVED)),
            hint: Some(format!("build it against the WIT of {}", list(wit::SERVED))),
        };
    }
    let found = match &surface.exports[..] {
        [] => "nothing".to_owned(),
        exports => list(exports),
    };
    Problem {
        message: format!(
            "the component exports {found}, and neither `{}` (a task) nor `wasi:cli/run@0.2.x` (a command)",
            v0_1_0::GUEST
        ),
        hint: Some(format!("build it for the world `task` of {}, or as a program with a `main`", list(wit::SERVED))),
    }
}

fn judge_module(surface: &Surface) -> (Option<PluginKind>, Vec<Problem>) {
    if !surface.exports.iter().any(|export| export == START) {
        let found = match &surface.exports[..] {
            [] => "nothing".to_owned(),
            exports => list(exports),
        };
        let problem = Problem {
            message: format!(
                "the core module exports {found}, and no `{START}`; it has no `{COMPONENT_TYPE}` section either, \
                 so it is neither a WASI preview-1 command nor a component"
            ),
            hint: Some(
                "build it as a program with a `main`, or make it a component with `wasm-tools component new`".into(),
            ),
        };
        return (None, vec![problem]);
    }
    let lacking = surface.imports.iter().filter(|(module, name)| !has_function(module, name));
    let lacking: Vec<_> = lacking.map(|(module, name)| format!("{module}.{name}")).collect();
    let problems = match &lacking[..] {
        [] => Vec::new(),
        _ => vec![Problem {
            message: format!("the core module imports {}, which this host does not have", list(&lacking)),
            hint: Some(format!("a preview-1 command may import the functions of `{PREVIEW1}` only")),
        }],
    };
    (Some(PluginKind::Preview1), problems)
}

/// What a binary shows to the outside.
struct Surface {
    encoding: Encoding,
    /// Of a module: module and name. Of a component: name and nothing.
    imports: Vec<(String, String)>,
    exports: Vec<String>,
    has_component_type: bool,
    memories: Vec<Memory>,
    sections: Sections,
}

impl Surface {
    fn read(binary: &[u8]) -> wasmparser::Result<Self> {
        let mut surface = Self {
            encoding: Encoding::Module,
            imports: Vec::new(),
            exports: Vec::new(),
            has_component_type: false,
            memories: Vec::new(),
            sections: Sections::default(),
        };
        // Components nest; only the outermost one's sections are its surface.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(binary) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                // How many there are is bounded.
                Payload::MemorySection(section) => {
                    for memory in section {
                        surface.memories.push(Memory::of(&memory?));
                    }
                }
                Payload::CustomSection(section) if depth > 0 => surface.sections.add_nested(&section),
                payload if depth == 0 => surface.add(payload)?,
                _ => {}
            }
        }
        Ok(surface)
    }

    fn add(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => self.encoding = encoding,
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    self.imports.push((import.module.to_owned(), import.name.to_owned()));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.to_owned());
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.imports.push((import?.name.name.to_owned(), String::new()));
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) => {
                self.has_component_type |= section.name().starts_with(COMPONENT_TYPE);
                self.sections.add(&section);
            }
            _ => {}
        }
        Ok(())
    }

    fn import_names(&self) -> Vec<String> {
        let mut names: Vec<_> = match self.encoding {
            Encoding::Module => self.imports.iter().map(|(module, name)| format!("{module}.{name}")).collect(),
            Encoding::Component => self.imports.iter().map(|(name, _)| name.clone()).collect(),
        };
        names.sort();
        // A module may name a function twice.
        names.dedup();
        names
    }

    fn export_names(&self) -> Vec<String> {
        let mut names = self.exports.clone();
        names.sort();
        names
    }
}

/// Whether these bytes begin as a binary does.
pub fn is_binary(wasm: &[u8]) -> bool {
    wasm.starts_with(b"\0asm")
}

/// The bytes as a binary: as they are, or out of the text form.
pub(crate) fn to_binary(wasm: &Bytes) -> Result<Bytes, Problem> {
    if is_binary(wasm) {
        return Ok(wasm.clone());
    }
    let text = str::from_utf8(wasm).map(str::trim_start).ok();
    let Some(text) = text.filter(|text| text.starts_with('(') || text.starts_with(";;")) else {
        return Err(Problem {
            message: format!("the file is no WebAssembly: it is {}", describe(wasm)),
            hint: Some("compile the program for a wasm target first, like `wasm32-wasip2`".to_owned()),
        });
    };
    bounds::check_text(text)?;
    wat::parse_str(text).map(Bytes::from).map_err(|error| {
        let error = told_lines(error, MAX_DETAIL_CHARS);
        Problem { message: format!("the WebAssembly text does not parse: {error}"), hint: None }
    })
}

fn describe(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "empty",
        [0x7f, b'E', b'L', b'F', ..] => "a native program (ELF)",
        [0xcf, 0xfa, 0xed, 0xfe, ..] => "a native program (Mach-O)",
        [b'M', b'Z', ..] => "a native program (PE)",
        [b'#', b'!', ..] => "a script",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [0x1f, 0x8b, ..] => "compressed with gzip",
        [0, b'a', ..] | [0] => "cut off within the magic number",
        _ if str::from_utf8(bytes).is_ok() => "text, but not of a `(module` or `(component`",
        _ => "of another format",
    }
}

/// Checks the form with every proposal allowed; which of them are is the compiler's to say.
fn validate(binary: &[u8]) -> Result<(), Problem> {
    Validator::new_with_features(WasmFeatures::all()).validate_all(binary).map(drop).map_err(|error| invalid(&error))
}

/// Makes a component of a core module that brings its component type.
fn to_component(module: &Bytes, surface: &Surface) -> Result<Bytes, Problem> {
    let encode = || {
        let mut encoder = wit_component::ComponentEncoder::default().validate(true).module(module)?;
        if surface.imports.iter().any(|(module, _)| module == PREVIEW1) {
            let is_program = surface.exports.iter().any(|export| export == START);
            let adapter = if is_program {
                adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
            } else {
                adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
            };
            encoder = encoder.adapter(PREVIEW1, adapter)?;
        }
        encoder.encode()
    };
    encode().map(Bytes::from).map_err(|error| Problem {
        message: format!(
            "the core module can't be made a component as its `{COMPONENT_TYPE}` section says: {}",
            told(format_args!("{error:#}"), MAX_DETAIL_CHARS)
        ),
        hint: None,
    })
}

/// The names as a message lists them: `a`, `b` and 3 more.
pub(crate) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown = names.iter().take(MAX_LISTED_NAMES);
    let shown: Vec<_> = shown.map(|name| format!("`{}`", told(name.as_ref(), MAX_NAME_CHARS))).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
