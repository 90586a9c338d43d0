//! Of everything there may be so much in a plugin, and not one more. Each of these files is small for what it would cost.

use std::time::{Duration, Instant};

use taskhost_engine::inspect;
use wasm_encoder::{
    Alias, BlockType, CodeSection, Component, ComponentAliasSection, ComponentSectionId, ComponentTypeSection,
    ComponentValType, ConstExpr, CustomSection, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection, InstanceSection, InstanceType,
    Instruction, MemorySection, MemoryType, Module, ModuleArg, ModuleSection, NestedComponentSection, PrimitiveValType,
    RawSection, RefType, TableSection, TableType, TagKind, TagSection, TagType, TypeSection, ValType,
};

/// Longer than any of these takes, by far; shorter than any of them would take without its bound.
const SOON: Duration = Duration::from_secs(20);

/// A number of `what` over the bound is refused, and the bound itself is not.
#[track_caller]
fn bound(what: &str, most: u64, file: impl Fn(u64) -> Vec<u8>) {
    let expected = format!("the plugin has {} {what}; at most {most} are accepted", most + 1);
    let start = Instant::now();
    let problems = inspect(&file(most + 1)).problems;
    let [problem] = &problems[..] else { panic!("one problem: {problems:?}") };
    assert_eq!(problem.message, expected);
    assert!(problem.hint.is_some(), "it says what to do");
    let problems = inspect(&file(most)).problems;
    // There may be others: a module of a thousand tables is not valid either.
    let refused = problems.iter().find(|problem| problem.message.contains("are accepted"));
    assert!(refused.is_none(), "{refused:?}");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// A command with this between its parts.
#[derive(Default)]
struct Parts {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    tags: TagSection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
    custom: Vec<CustomSection<'static>>,
}

impl Parts {
    /// With a type of functions that take and return nothing, and `_start` of it, the first function that is not imported.
    fn command() -> Self {
        Self::with_start(&empty_function())
    }

    fn with_start(start: &Function) -> Self {
        let mut parts = Self::default();
        parts.types.ty().function([], []);
        parts.functions.function(0);
        parts.code.function(start);
        parts.exports.export("_start", ExportKind::Func, 0);
        parts
    }

    fn module(self) -> Module {
        let mut module = Module::new();
        let Self { types, imports, functions, tables, memories, tags, globals, exports, elements, code, data, custom } =
            self;
        module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
        module.section(&tags).section(&globals).section(&exports).section(&elements).section(&code).section(&data);
        custom.iter().for_each(|section| {
            module.section(section);
        });
        module
    }

    fn bytes(self) -> Vec<u8> {
        self.module().finish()
    }
}

fn function(
    locals: impl IntoIterator<Item = (u32, ValType), IntoIter: ExactSizeIterator>,
    body: &[Instruction<'_>],
) -> Function {
    let mut function = Function::new(locals);
    body.iter().for_each(|instruction| {
        function.instruction(instruction);
    });
    function.instruction(&Instruction::End);
    function
}

fn empty_function() -> Function {
    function([], &[])
}

fn number(count: u64) -> u32 {
    u32::try_from(count).expect("a small number")
}

fn times(count: u64, mut step: impl FnMut()) {
    (0..count).for_each(|_| step());
}

#[test]
fn functions_are_bounded() {
    bound("functions", 200_000, |count| {
        let mut parts = Parts::command();
        times(count - 1, || {
            parts.functions.function(0);
            parts.code.function(&empty_function());
        });
        parts.bytes()
    });
}

#[test]
fn core_types_and_their_parts_are_bounded() {
    bound("core types", 100_000, |count| {
        let mut parts = Parts::command();
        times(count - 1, || parts.types.ty().function([], []));
        parts.bytes()
    });
    bound("parameters, results and fields of core types", 1_000_000, |count| {
        let mut parts = Parts::command();
        times(count / 1_000, || parts.types.ty().function([ValType::I32; 1_000], []));
        parts.types.ty().function(vec![ValType::I32; (count % 1_000) as usize], []);
        parts.bytes()
    });
}

#[test]
fn locals_are_bounded_in_a_function_and_in_all() {
    bound("locals", 20_000, |count| Parts::with_start(&function([(number(count), ValType::I64)], &[])).bytes());
    bound("locals in all functions together", 8_000_000, |count| {
        let mut parts = Parts::with_start(&function([(number(count % 20_000), ValType::I64)], &[]));
        times(count / 20_000, || {
            parts.functions.function(0);
            parts.code.function(&function([(20_000, ValType::I64)], &[]));
        });
        parts.bytes()
    });
    // Of one byte each, which their number may not overflow.
    let huge = function([(u32::MAX, ValType::I32), (u32::MAX, ValType::I64)], &[]);
    let problems = inspect(&Parts::with_start(&huge).bytes()).problems;
    assert!(problems[0].message.contains("locals"), "{problems:?}");
}

#[test]
fn the_bytes_of_a_function_are_bounded() {
    bound("bytes in one function", 2 << 20, |count| {
        // Beside the instructions there are the number of locals and the end.
        let mut start = Function::new([]);
        start.raw(vec![0x01; count as usize - 2]);
        start.instruction(&Instruction::End);
        Parts::with_start(&start).bytes()
    });
}

#[test]
fn blocks_within_blocks_are_bounded() {
    bound("blocks within each other", 10_000, |count| {
        let count = count as usize;
        let blocks = [vec![Instruction::Block(BlockType::Empty); count], vec![Instruction::End; count]];
        Parts::with_start(&function([], &blocks.concat())).bytes()
    });
}

#[test]
fn targets_of_branches_are_bounded_in_a_function() {
    bound("targets of `br_table` in one function", 65_536, |count| {
        let tables = [vec![0; 10_000], vec![0; count as usize - 10_000]].map(|targets| {
            [
                Instruction::Block(BlockType::Empty),
                Instruction::I32Const(0),
                Instruction::BrTable(targets.into(), 0),
                Instruction::End,
            ]
        });
        Parts::with_start(&function([], &tables.concat())).bytes()
    });
}

#[test]
fn what_a_module_defines_is_bounded() {
    bound("globals", 100_000, |count| {
        let mut parts = Parts::command();
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        times(count, || {
            parts.globals.global(ty, &ConstExpr::i32_const(0));
        });
        parts.bytes()
    });
    bound("tables", 1_000, |count| {
        let mut parts = Parts::command();
        times(count, || {
            parts.tables.table(TABLE);
        });
        parts.bytes()
    });
    bound("memories", 100, |count| {
        let mut parts = Parts::command();
        let ty = MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
        times(count, || {
            parts.memories.memory(ty);
        });
        parts.bytes()
    });
    bound("exception tags", 10_000, |count| {
        let mut parts = Parts::command();
        times(count, || {
            parts.tags.tag(TagType { kind: TagKind::Exception, func_type_idx: 0 });
        });
        parts.bytes()
    });
    bound("data segments", 200_000, |count| {
        let mut parts = Parts::command();
        times(count, || {
            parts.data.passive([]);
        });
        parts.bytes()
    });
}

const TABLE: TableType =
    TableType { element_type: RefType::FUNCREF, table64: false, minimum: 0, maximum: None, shared: false };

#[test]
fn elements_are_bounded_in_number_and_segments() {
    bound("element segments", 100_000, |count| {
        let mut parts = Parts::command();
        times(count, || {
            parts.elements.passive(Elements::Functions([][..].into()));
        });
        parts.bytes()
    });
    bound("elements in all segments together", 1_000_000, |count| {
        let mut parts = Parts::command();
        for count in [count / 2, count - count / 2] {
            parts.elements.passive(Elements::Functions((&vec![0; count as usize]).into()));
        }
        parts.bytes()
    });
}

#[test]
fn imports_exports_and_their_names_are_bounded() {
    bound("imports of core modules", 100_000, |count| {
        // Not the plugin's own surface, of which there may be less.
        let mut parts = Parts::default();
        parts.types.ty().function([], []);
        times(count, || {
            parts.imports.import("", "", EntityType::Function(0));
        });
        nested(&parts.module())
    });
    bound("exports of core modules", 100_000, |count| {
        let mut parts = Parts::command();
        (1..count).for_each(|at| {
            parts.exports.export(&at.to_string(), ExportKind::Func, 0);
        });
        nested(&parts.module())
    });
    bound("imports and exports", 10_000, |count| {
        let mut parts = Parts::command();
        (1..count).for_each(|at| {
            parts.exports.export(&at.to_string(), ExportKind::Func, 0);
        });
        parts.bytes()
    });
    bound("bytes in the name of an import, export or section", 16 << 10, |count| {
        let mut parts = Parts::command();
        parts.exports.export(&"a".repeat(count as usize), ExportKind::Func, 0);
        parts.bytes()
    });
    bound("bytes in the names of its imports and exports", 512 << 10, |count| {
        let mut parts = Parts::command();
        let left = count as usize - "_start".len();
        let name = |at: usize, length: usize| format!("{at:0>length$}");
        (0..left / 10_000).for_each(|at| {
            parts.exports.export(&name(at, 10_000), ExportKind::Func, 0);
        });
        parts.exports.export(&"a".repeat(left % 10_000), ExportKind::Func, 0);
        parts.bytes()
    });
}

#[test]
fn custom_sections_are_bounded() {
    bound("custom sections", 10_000, |count| {
        let mut parts = Parts::command();
        times(count, || parts.custom.push(CustomSection { name: "n".into(), data: [][..].into() }));
        parts.bytes()
    });
    bound("bytes of `component-type` sections", 1 << 20, |count| {
        let mut parts = Parts::command();
        for count in [count / 2, count - count / 2] {
            let data = vec![0; count as usize].into();
            parts.custom.push(CustomSection { name: "component-type:world".into(), data });
        }
        parts.bytes()
    });
}

/// A component with this module in it.
fn nested(module: &Module) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&ModuleSection(module));
    component.finish()
}

/// Components within each other, so deep.
fn deep(levels: u64) -> Vec<u8> {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    // From the inside to the outside, in linear time: each is a header, and a section of what is within.
    let mut lengths = vec![HEADER.len()];
    for _ in 0..levels {
        let inner = lengths[lengths.len() - 1];
        lengths.push(HEADER.len() + 1 + leb(inner).len() + inner);
    }
    let mut bytes = Vec::new();
    for inner in lengths.iter().rev().skip(1) {
        bytes.extend_from_slice(HEADER);
        bytes.push(ComponentSectionId::Component as u8);
        bytes.extend(leb(*inner));
    }
    bytes.extend_from_slice(HEADER);
    bytes
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[test]
fn components_within_components_are_bounded_in_depth_and_number() {
    bound("components and modules within each other", 16, deep);
    let problems = inspect(&deep(1_000_000)).problems;
    assert!(problems[0].message.contains("within each other"), "{problems:?}");

    bound("nested components", 200, |count| {
        let mut component = Component::new();
        times(count - 1, || {
            component.section(&NestedComponentSection(&Component::new()));
        });
        component.finish()
    });
    bound("modules", 500, |count| {
        let mut component = Component::new();
        times(count, || {
            component.section(&ModuleSection(&Module::new()));
        });
        component.finish()
    });
}

#[test]
fn a_component_type_section_is_walked_as_well() {
    let data = deep(1_000).into();
    let mut parts = Parts::command();
    parts.custom.push(CustomSection { name: "component-type".into(), data });
    let problems = inspect(&parts.bytes()).problems;
    assert!(problems[0].message.contains("within each other"), "{problems:?}");
}

#[test]
fn instances_and_aliases_are_bounded() {
    bound("instances", 2_000, |count| {
        let mut component = Component::new();
        component.section(&ModuleSection(&Module::new()));
        let mut instances = InstanceSection::new();
        times(count, || {
            instances.instantiate::<[(&str, ModuleArg); 0], &str>(0, []);
        });
        component.section(&instances);
        component.finish()
    });
    // Each the alias of an outer type.
    bound("component items", 50_000, |count| {
        let mut inner = Component::new();
        let mut aliases = ComponentAliasSection::new();
        times(count, || {
            aliases.alias(Alias::Outer { kind: wasm_encoder::ComponentOuterAliasKind::Type, count: 1, index: 0 });
        });
        inner.section(&aliases);
        let mut component = Component::new();
        let mut types = ComponentTypeSection::new();
        types.defined_type().primitive(PrimitiveValType::U8);
        component.section(&types).section(&NestedComponentSection(&inner));
        component.finish()
    });
}

#[test]
fn component_types_are_bounded_in_number_and_depth() {
    bound("component types", 50_000, |count| {
        let mut types = ComponentTypeSection::new();
        types.defined_type().primitive(PrimitiveValType::U8);
        (1..count).for_each(|before| types.defined_type().list(ComponentValType::Type(number(before - 1))));
        component_of(&types)
    });
    bound("component types", 50_000, |count| {
        let mut instance = InstanceType::new();
        times(count - 1, || instance.ty().defined_type().primitive(PrimitiveValType::U8));
        let mut types = ComponentTypeSection::new();
        types.instance(&instance);
        component_of(&types)
    });
    bound("component types within each other", 4_000, |count| types_within_types(count as usize - 1));
    // Read by calling itself, this would take gigabytes of stack.
    let problems = inspect(&types_within_types(5_000_000)).problems;
    assert!(problems[0].message.contains("component types within each other"), "{problems:?}");
}

fn component_of(section: &impl wasm_encoder::ComponentSection) -> Vec<u8> {
    let mut component = Component::new();
    component.section(section);
    component.finish()
}

/// An instance type that declares one that declares one, and so on: three bytes each.
fn types_within_types(levels: usize) -> Vec<u8> {
    const INSTANCE_OF_ONE: &[u8] = &[0x42, 0x01];
    const TYPE: &[u8] = &[0x01];
    let mut data = vec![1];
    for _ in 0..levels {
        data.extend_from_slice(INSTANCE_OF_ONE);
        data.extend_from_slice(TYPE);
    }
    data.extend_from_slice(&[0x42, 0x00]);
    component_of(&RawSection { id: ComponentSectionId::Type as u8, data: &data })
}

#[test]
fn text_is_bounded_in_size_and_depth() {
    bound("bytes of text", 8 << 20, |count| {
        let (start, end) = (r#"(module (func (export "_start") (unreachable)))"#, "\n");
        format!("{start}{}", end.repeat(count as usize - start.len())).into_bytes()
    });
    bound("parentheses within each other", 1_000, |count| {
        let count = count as usize - 2;
        format!("(module (func {}{}))", "(block ".repeat(count), ")".repeat(count)).into_bytes()
    });
    for open in [
        "(",
        "(module ",
        "(component ",
        "(type (component ",
        "(func (param ",
        "(i32.add ",
        "(block (result i32) ",
        "(@a ",
    ] {
        let start = Instant::now();
        for levels in [100, 990, 200_000] {
            for begin in ["", "(module ", "(component ", "(module (func ", "(component (type ", "(module (rec "] {
                assert!(!inspect(format!("{begin}{}", open.repeat(levels)).as_bytes()).problems.is_empty());
            }
        }
        assert!(start.elapsed() < SOON, "{open}: {:?}", start.elapsed());
    }
}

#[test]
fn what_lies_about_its_length_is_refused_soon() {
    // A section of four thousand million, of each kind; there are no bytes behind it.
    let many = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for id in 0..=12 {
        let mut module = Module::new();
        module.section(&RawSection { id, data: &many });
        assert!(!inspect(&module.finish()).problems.is_empty(), "module section {id}");
        let problems = inspect(&component_of(&RawSection { id, data: &many })).problems;
        assert!(!problems.is_empty(), "component section {id}");
    }
}

#[test]
fn sections_are_the_encoders_own() {
    // That the files above are what they say: this one is a command.
    assert_eq!(inspect(&Parts::command().bytes()).problems, []);
}
