//! How complex a plugin may be, checked before anything is done with it that costs more than reading it once.
//!
//! The size of a file bounds nothing: 64 MiB are room for components within components a million deep, for a function with
//! a hundred million locals in ten bytes, or for a text that takes a hundred times its size when it is parsed. So a file is
//! walked once, section by section, with nothing kept of it, and refused at the first thing of which it has too much. What
//! the walk lets through, the validator and the compiler can do; that they do it within bounds of memory and time is the
//! child's limits' to see to ([`crate::compile`]).
//!
//! Each bound is several times what the largest honest plugins have that we know of: components made of Python and
//! JavaScript with their interpreters, 12 to 18 MB, some 15,000 to 40,000 functions. Counts are over all of a file,
//! whatever is nested in it.

use std::ops::AddAssign;

use wasmparser::{BinaryReaderError, ComponentType, ComponentTypeDeclaration, CoreType, Encoding};
use wasmparser::{
    ElementItems, FunctionBody, InstanceTypeDeclaration, ModuleTypeDeclaration, Operator, Parser, Payload,
};

use crate::problem::{Problem, invalid};

/// What tools call the section that makes a core module a component.
pub(crate) const COMPONENT_TYPE: &str = "component-type";

/// There may be so many, and no more.
struct Bound {
    /// What is counted, in the plural.
    what: &'static str,
    most: u64,
    hint: &'static str,
}

const OPTIMISE: &str = "build it with optimisation, so that the linker drops what is never called, or split it";
const GENERATED: &str =
    "no compiler makes such a file of a program that people wrote; if yours does, split what it is made of";
const STRIP: &str = "strip it, as with `wasm-tools strip`";

/// A parsed text takes up to a hundred times its size, and is written by hand or for tests: a tool has the binary.
const TEXT_BYTES: Bound =
    Bound { what: "bytes of text", most: 8 << 20, hint: "make it a binary, as with `wasm-tools parse`" };

/// Parsers go into parentheses by calling themselves. Folded instructions of people nest to some ten.
const TEXT_DEPTH: Bound = Bound { what: "parentheses within each other", most: 1_000, hint: GENERATED };

/// Composed components nest to three or four; a walk keeps a parser for each level.
const DEPTH: Bound = Bound { what: "components and modules within each other", most: 16, hint: GENERATED };

/// A component of Python has a module for each native library, some fifty.
const MODULES: Bound = Bound { what: "modules", most: 500, hint: GENERATED };
const COMPONENTS: Bound = Bound { what: "nested components", most: 200, hint: GENERATED };

/// Of every kind that a component's sections define: instances, aliases, canonical functions, imports, exports. A component
/// of Python has some thousands. Aliases may stand for aliases, so a chain of them is no longer than this either.
const COMPONENT_ITEMS: Bound = Bound { what: "component items", most: 50_000, hint: GENERATED };

/// Each is made anew for every run.
const INSTANCES: Bound = Bound { what: "instances", most: 2_000, hint: GENERATED };

/// Each costs the compiler some 10 µs and 1 KiB, however small it is.
const FUNCTIONS: Bound = Bound { what: "functions", most: 200_000, hint: OPTIMISE };

/// Types of core functions, structures and arrays.
const CORE_TYPES: Bound = Bound { what: "core types", most: 100_000, hint: OPTIMISE };

/// Parameters, results and fields of all of those: a type of ten bytes is one of a thousand where it is used.
const CORE_TYPE_PARTS: Bound =
    Bound { what: "parameters, results and fields of core types", most: 1_000_000, hint: OPTIMISE };

/// Types of components, with all that is declared within them.
const COMPONENT_TYPES: Bound = Bound { what: "component types", most: 50_000, hint: GENERATED };

/// Within one section: whoever reads a type that is declared within a type calls himself, so this is how deep they may nest
/// at the most. The interfaces of a world are such; there are some tens. (Counted before they are read, by the two bytes
/// that each begins with, which may stand for something else: so there may be some fewer.)
const NESTED_TYPES: Bound = Bound { what: "component types within each other", most: 4_000, hint: GENERATED };

/// wasmparser's own is 50,000, in five bytes. Compilers keep a variable for each; code that is not optimised has thousands.
const FUNCTION_LOCALS: Bound = Bound { what: "locals", most: 20_000, hint: OPTIMISE };

/// Honest functions have ten in the mean, and a hundred without optimisation.
const LOCALS: Bound = Bound { what: "locals in all functions together", most: 8_000_000, hint: OPTIMISE };

/// The compiler holds a function whole, at some 500 bytes of memory per byte. The largest that we know of are initialisers of
/// tables, at some 300 KB.
const FUNCTION_BYTES: Bound =
    Bound { what: "bytes in one function", most: 2 << 20, hint: "build it with optimisation, or split the function" };

/// LLVM nests a block for each target of a `switch`.
const CONTROL_DEPTH: Bound = Bound { what: "blocks within each other", most: 10_000, hint: GENERATED };

/// Each target is an edge of the function's graph, and some of the compiler's passes take time for each pair of edge and value.
const BRANCH_TARGETS: Bound = Bound { what: "targets of `br_table` in one function", most: 65_536, hint: GENERATED };

const GLOBALS: Bound = Bound { what: "globals", most: 100_000, hint: OPTIMISE };
const TABLES: Bound = Bound { what: "tables", most: 1_000, hint: GENERATED };
const MEMORIES: Bound = Bound { what: "memories", most: 100, hint: GENERATED };
const TAGS: Bound = Bound { what: "exception tags", most: 10_000, hint: GENERATED };
const ELEMENT_SEGMENTS: Bound = Bound { what: "element segments", most: 100_000, hint: OPTIMISE };

/// Entries of function tables; each function whose address is taken has one.
const ELEMENTS: Bound = Bound { what: "elements in all segments together", most: 1_000_000, hint: OPTIMISE };

/// Kotlin makes one for each text.
const DATA_SEGMENTS: Bound = Bound { what: "data segments", most: 200_000, hint: OPTIMISE };

/// Those of core modules; a library of Python imports some hundreds of functions from the others.
const IMPORTS: Bound = Bound { what: "imports of core modules", most: 100_000, hint: GENERATED };
const EXPORTS: Bound = Bound { what: "exports of core modules", most: 100_000, hint: OPTIMISE };

/// Templates of C++ have names of some thousands of bytes.
const NAME_BYTES: Bound =
    Bound { what: "bytes in the name of an import, export or section", most: 16 << 10, hint: GENERATED };

/// What is kept of a plugin beside its bytes, and shown when it is listed, is these.
const SURFACE_NAMES: Bound = Bound { what: "imports and exports", most: 10_000, hint: OPTIMISE };
const SURFACE_BYTES: Bound =
    Bound { what: "bytes in the names of its imports and exports", most: 512 << 10, hint: OPTIMISE };

/// A file of debug information has some ten.
const CUSTOM_SECTIONS: Bound = Bound { what: "custom sections", most: 10_000, hint: STRIP };

/// What makes a core module a component is in them, a whole world of types that is put together in memory. WASI's has 50 KB.
const COMPONENT_TYPE_BYTES: Bound =
    Bound { what: "bytes of `component-type` sections", most: 1 << 20, hint: GENERATED };

impl Bound {
    fn check(&self, found: u64) -> Result<(), Problem> {
        if found <= self.most {
            return Ok(());
        }
        let Self { what, most, hint } = self;
        let message = format!("the plugin has {found} {what}; at most {most} are accepted");
        Err(Problem { message, hint: Some((*hint).to_owned()) })
    }
}

/// Refuses a text that parsing would take too much for.
pub(crate) fn check_text(text: &str) -> Result<(), Problem> {
    TEXT_BYTES.check(text.len() as u64)?;
    let (mut depth, mut deepest) = (0_u64, 0);
    let mut bytes = text.bytes().peekable();
    // How many block comments are open; they nest too.
    let mut comments = 0_u64;
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'(', Some(b';')) => {
                bytes.next();
                comments += 1;
            }
            (b';', Some(b')')) if comments > 0 => {
                bytes.next();
                comments -= 1;
            }
            _ if comments > 0 => {}
            (b';', Some(b';')) => while bytes.next_if(|byte| *byte != b'\n').is_some() {},
            (b'"', _) => loop {
                match bytes.next() {
                    Some(b'\\') => drop(bytes.next()),
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            (b'(', _) => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (b')', _) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    TEXT_DEPTH.check(deepest)
}

/// Refuses a binary that has too much of anything.
pub(crate) fn check(binary: &[u8]) -> Result<(), Problem> {
    Walk::default().walk(binary, 0)
}

/// What was found so far.
#[derive(Default)]
struct Walk {
    modules: u64,
    components: u64,
    component_items: u64,
    instances: u64,
    functions: u64,
    core_types: u64,
    core_type_parts: u64,
    component_types: u64,
    locals: u64,
    globals: u64,
    tables: u64,
    memories: u64,
    tags: u64,
    element_segments: u64,
    elements: u64,
    data_segments: u64,
    imports: u64,
    exports: u64,
    surface_names: u64,
    surface_bytes: u64,
    custom_sections: u64,
    component_type_bytes: u64,
}

/// Adds to a count, and checks it.
fn add(count: &mut u64, more: impl Into<u64>, bound: &Bound) -> Result<(), Problem> {
    count.add_assign(more.into());
    bound.check(*count)
}

impl Walk {
    /// Walks a module or component that is nested `outer` deep.
    fn walk(&mut self, binary: &[u8], outer: u64) -> Result<(), Problem> {
        let mut depth = outer;
        for payload in Parser::new(0).parse_all(binary) {
            match payload.map_err(unreadable)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    depth += 1;
                    DEPTH.check(depth)?;
                }
                Payload::Version { encoding: Encoding::Module, .. } => add(&mut self.modules, 1_u64, &MODULES)?,
                Payload::Version { encoding: Encoding::Component, .. } => {
                    add(&mut self.components, 1_u64, &COMPONENTS)?;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) => {
                    add(&mut self.custom_sections, 1_u64, &CUSTOM_SECTIONS)?;
                    NAME_BYTES.check(section.name().len() as u64)?;
                    if section.name().starts_with(COMPONENT_TYPE) {
                        add(&mut self.component_type_bytes, section.data().len() as u64, &COMPONENT_TYPE_BYTES)?;
                        DEPTH.check(depth + 1)?;
                        // What is no binary is for the encoder to refuse.
                        if section.data().starts_with(b"\0asm") {
                            self.walk(section.data(), depth + 1)?;
                        }
                    }
                }
                Payload::ComponentTypeSection(section) => {
                    let range = section.range();
                    NESTED_TYPES.check(nested_types(&binary[range]))?;
                    add(&mut self.component_types, section.count(), &COMPONENT_TYPES)?;
                    for ty in section {
                        self.add_component_type(&ty.map_err(unreadable)?)?;
                    }
                }
                payload => self.add(payload, depth == 0)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, payload: Payload<'_>, is_surface: bool) -> Result<(), Problem> {
        match payload {
            Payload::TypeSection(section) => {
                CORE_TYPES.check(section.count().into())?;
                for group in section {
                    self.add_group(&group.map_err(unreadable)?)?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(unreadable)?;
                    add(&mut self.imports, 1_u64, &IMPORTS)?;
                    self.add_name(import.module, is_surface)?;
                    self.add_name(import.name, is_surface)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    add(&mut self.exports, 1_u64, &EXPORTS)?;
                    self.add_name(export.map_err(unreadable)?.name, is_surface)?;
                }
            }
            Payload::FunctionSection(section) => add(&mut self.functions, section.count(), &FUNCTIONS)?,
            Payload::TableSection(section) => add(&mut self.tables, section.count(), &TABLES)?,
            Payload::MemorySection(section) => add(&mut self.memories, section.count(), &MEMORIES)?,
            Payload::TagSection(section) => add(&mut self.tags, section.count(), &TAGS)?,
            Payload::GlobalSection(section) => add(&mut self.globals, section.count(), &GLOBALS)?,
            Payload::DataSection(section) => add(&mut self.data_segments, section.count(), &DATA_SEGMENTS)?,
            Payload::ElementSection(section) => {
                add(&mut self.element_segments, section.count(), &ELEMENT_SEGMENTS)?;
                for segment in section {
                    let count = match segment.map_err(unreadable)?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    add(&mut self.elements, count, &ELEMENTS)?;
                }
            }
            Payload::CodeSectionStart { count, .. } => FUNCTIONS.check(count.into())?,
            Payload::CodeSectionEntry(body) => self.add_body(&body)?,
            Payload::CoreTypeSection(section) => {
                CORE_TYPES.check(section.count().into())?;
                for ty in section {
                    self.add_core_type(&ty.map_err(unreadable)?)?;
                }
            }
            Payload::InstanceSection(section) => add(&mut self.instances, section.count(), &INSTANCES)?,
            Payload::ComponentInstanceSection(section) => add(&mut self.instances, section.count(), &INSTANCES)?,
            Payload::ComponentAliasSection(section) => self.add_items(section.count())?,
            Payload::ComponentCanonicalSection(section) => self.add_items(section.count())?,
            Payload::ComponentStartSection { .. } => self.add_items(1)?,
            Payload::ComponentImportSection(section) => {
                self.add_items(section.count())?;
                for import in section {
                    self.add_name(import.map_err(unreadable)?.name.name, is_surface)?;
                }
            }
            Payload::ComponentExportSection(section) => {
                self.add_items(section.count())?;
                for export in section {
                    self.add_name(export.map_err(unreadable)?.name.name, is_surface)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_items(&mut self, count: u32) -> Result<(), Problem> {
        add(&mut self.component_items, count, &COMPONENT_ITEMS)
    }

    fn add_name(&mut self, name: &str, is_surface: bool) -> Result<(), Problem> {
        NAME_BYTES.check(name.len() as u64)?;
        if is_surface {
            add(&mut self.surface_names, 1_u64, &SURFACE_NAMES)?;
            add(&mut self.surface_bytes, name.len() as u64, &SURFACE_BYTES)?;
        }
        Ok(())
    }

    fn add_group(&mut self, group: &wasmparser::RecGroup) -> Result<(), Problem> {
        for ty in group.types() {
            add(&mut self.core_types, 1_u64, &CORE_TYPES)?;
            let parts = match &ty.composite_type.inner {
                wasmparser::CompositeInnerType::Func(ty) => ty.params().len() + ty.results().len(),
                wasmparser::CompositeInnerType::Struct(ty) => ty.fields.len(),
                _ => 1,
            };
            add(&mut self.core_type_parts, parts as u64, &CORE_TYPE_PARTS)?;
        }
        Ok(())
    }

    fn add_core_type(&mut self, ty: &CoreType<'_>) -> Result<(), Problem> {
        match ty {
            CoreType::Rec(group) => self.add_group(group),
            CoreType::Module(declarations) => {
                add(&mut self.component_types, declarations.len() as u64, &COMPONENT_TYPES)?;
                declarations.iter().try_for_each(|declaration| match declaration {
                    ModuleTypeDeclaration::Type(group) => self.add_group(group),
                    _ => Ok(()),
                })
            }
        }
    }

    /// Counts what a type declares within it; [`NESTED_TYPES`] bounds how deep this goes.
    fn add_component_type(&mut self, ty: &ComponentType<'_>) -> Result<(), Problem> {
        match ty {
            ComponentType::Component(declarations) => {
                add(&mut self.component_types, declarations.len() as u64, &COMPONENT_TYPES)?;
                declarations.iter().try_for_each(|declaration| match declaration {
                    ComponentTypeDeclaration::Type(ty) => self.add_component_type(ty),
                    ComponentTypeDeclaration::CoreType(ty) => self.add_core_type(ty),
                    _ => Ok(()),
                })
            }
            ComponentType::Instance(declarations) => {
                add(&mut self.component_types, declarations.len() as u64, &COMPONENT_TYPES)?;
                declarations.iter().try_for_each(|declaration| match declaration {
                    InstanceTypeDeclaration::Type(ty) => self.add_component_type(ty),
                    InstanceTypeDeclaration::CoreType(ty) => self.add_core_type(ty),
                    _ => Ok(()),
                })
            }
            _ => Ok(()),
        }
    }

    fn add_body(&mut self, body: &FunctionBody<'_>) -> Result<(), Problem> {
        FUNCTION_BYTES.check(body.as_bytes().len() as u64)?;
        let mut locals = 0;
        for group in body.get_locals_reader().map_err(unreadable)? {
            let (count, _) = group.map_err(unreadable)?;
            add(&mut locals, count, &FUNCTION_LOCALS)?;
        }
        add(&mut self.locals, locals, &LOCALS)?;
        let (mut depth, mut targets) = (0_u64, 0);
        for operator in body.get_operators_reader().map_err(unreadable)? {
            match operator.map_err(unreadable)? {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Try { .. }
                | Operator::TryTable { .. } => {
                    depth += 1;
                    CONTROL_DEPTH.check(depth)?;
                }
                Operator::End => depth = depth.saturating_sub(1),
                Operator::BrTable { targets: table } => add(&mut targets, table.len(), &BRANCH_TARGETS)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// How many types are declared within types in this section, at the most. Reading them is what must not be done before this
/// is known: a reader calls itself for each.
fn nested_types(section: &[u8]) -> u64 {
    /// What a declaration begins with that is a type.
    const TYPE: u8 = 0x01;
    const COMPONENT: u8 = 0x41;
    const INSTANCE: u8 = 0x42;
    section.array_windows().filter(|pair| matches!(pair, [TYPE, COMPONENT | INSTANCE])).count() as u64
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unreadable(error: BinaryReaderError) -> Problem {
    invalid(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_in_comments_and_strings_do_not_nest() {
        let many = "(".repeat(2_000);
        for text in [
            format!("(module ;; {many}\n)"),
            format!("(module (; {many} (; ;) {many} ;))"),
            format!(r#"(module (data "\"{many}"))"#),
            "(module)".repeat(2_000),
        ] {
            assert!(check_text(&text).is_ok(), "{}", &text[..40]);
        }
        for text in [many.clone(), format!("(; ;) {many}"), format!("\"\" {many}"), format!(";;\n{many}")] {
            assert!(check_text(&text).is_err(), "{}", &text[..40]);
        }
    }
}
