//! Plugins as large as real ones.

use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, Instruction, Module, TypeSection,
    ValType,
};

/// A command of so many functions, each of some 50 bytes for each of its `turns`; all do something, and none is like another.
/// What `salt` is makes it another plugin.
pub(crate) fn command(functions: u32, turns: i32, salt: i32) -> Vec<u8> {
    let (mut types, mut declared, mut code, mut exports) =
        (TypeSection::new(), FunctionSection::new(), CodeSection::new(), ExportSection::new());
    types.ty().function([], []);
    types.ty().function([ValType::I32], [ValType::I32]);
    declared.function(0);
    let mut start = Function::new([]);
    start.instruction(&Instruction::End);
    code.function(&start);
    exports.export("_start", ExportKind::Func, 0);
    for function in 0..functions {
        declared.function(1);
        code.function(&work(turns, salt.wrapping_add(function.cast_signed()), function));
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&exports).section(&code);
    module.finish()
}

fn work(turns: i32, salt: i32, calls: u32) -> Function {
    let mut function = Function::new([(4, ValType::I32), (2, ValType::I64)]);
    for turn in 0..turns {
        let local = 1 + turn.cast_unsigned() % 4;
        for instruction in [
            Instruction::Block(BlockType::Empty),
            Instruction::LocalGet(0),
            Instruction::I32Const(salt ^ turn),
            Instruction::I32GtS,
            Instruction::BrIf(0),
            Instruction::LocalGet(local),
            Instruction::I32Const(turn),
            Instruction::I32Mul,
            Instruction::LocalGet(0),
            Instruction::I32Xor,
            Instruction::LocalTee(local),
            Instruction::I64ExtendI32U,
            Instruction::LocalGet(5),
            Instruction::I64Add,
            Instruction::LocalSet(6),
            Instruction::LocalGet(0),
            Instruction::Call(1 + calls / 2),
            Instruction::LocalSet(0),
            Instruction::End,
        ] {
            function.instruction(&instruction);
        }
    }
    function.instruction(&Instruction::LocalGet(0));
    function.instruction(&Instruction::End);
    function
}
