//! Writes what a plugin says of itself into its custom sections.
//!
//! The sections are copied byte for byte but those that are replaced, so that a packed plugin runs the same code. The crate
//! wasm-metadata writes the same sections, but leaves the old one beside the new one where there is one.

use std::borrow::Cow;

use bytes::Bytes;
use taskhost_core::manifest::{About, MANIFEST_SECTION};
use wasm_encoder::{CustomSection, Encode, RawSection, Section};
use wasmparser::{BinaryReader, Encoding, Parser, Payload};

use crate::about::TEXTS;
use crate::bounds;
use crate::inspect::{to_binary, with_deep_stack};
use crate::problem::{Problem, invalid};

/// The id of custom sections.
const CUSTOM: u8 = 0;

/// The id of the part of a section of names that has the name of the whole.
const OWN_NAME: u8 = 0;

/// Both forms begin with a magic number and a version.
const HEADER_BYTES: usize = 8;

/// The plugin as a binary with these sections. Those that `about` has replace what is there, a manifest always does, and what the
/// plugin was made with stays. What comes out is for [`inspect`](crate::inspect()) to judge.
///
/// # Errors
/// A [`Problem`] if the file is no WebAssembly.
///
/// # Panics
/// If the system refuses a thread.
pub fn pack(wasm: &[u8], about: &About) -> Result<Vec<u8>, Problem> {
    with_deep_stack(|| {
        let binary = to_binary(&Bytes::copy_from_slice(wasm))?;
        bounds::check(&binary)?;
        rewrite(&binary, &mut about.clone()).map_err(|error| invalid(&error))
    })
}

fn rewrite(binary: &[u8], about: &mut About) -> wasmparser::Result<Vec<u8>> {
    let names = match Parser::new(0).parse_all(binary).next().transpose()? {
        Some(Payload::Version { encoding: Encoding::Component, .. }) => "component-name",
        _ => "name",
    };
    let mut packed = Vec::with_capacity(binary.len());
    let (header, sections) = binary.split_at(HEADER_BYTES.min(binary.len()));
    packed.extend_from_slice(header);
    let mut reader = BinaryReader::new(sections, HEADER_BYTES);
    while !reader.eof() {
        let id = reader.read_u8()?;
        let bytes = reader.read_var_u32()? as usize;
        let data = reader.read_bytes(bytes)?;
        let mut section = BinaryReader::new(data, reader.original_position());
        let name = if id == CUSTOM { section.read_string()? } else { "" };
        if name == names
            && let Some(own) = about.name.take()
        {
            append(&mut packed, names, &names_with(&own, section)?);
        } else if !is_replaced(name, about) {
            RawSection { id, data }.append_to(&mut packed);
        }
    }
    if let Some(own) = about.name.take() {
        append(&mut packed, names, &names_with(&own, BinaryReader::new(&[], 0))?);
    }
    for (name, of) in TEXTS {
        if let Some(text) = of(about) {
            append(&mut packed, name, text.as_bytes());
        }
    }
    if let Some(manifest) = &about.manifest {
        let json = serde_json::to_vec(manifest).expect("a manifest has texts as keys only");
        append(&mut packed, MANIFEST_SECTION, &json);
    }
    Ok(packed)
}

/// Whether a custom section of this name makes room for another one.
fn is_replaced(name: &str, about: &mut About) -> bool {
    let is_text = TEXTS.iter().any(|(text, of)| *text == name && of(about).is_some());
    is_text || name == MANIFEST_SECTION
}

fn append(packed: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection { name: Cow::Borrowed(name), data: Cow::Borrowed(data) }.append_to(packed);
}

/// A section of names whose own name is this one, and the others as they were.
fn names_with(own: &str, mut others: BinaryReader<'_>) -> wasmparser::Result<Vec<u8>> {
    let mut names = Vec::new();
    let mut put = |id: u8, data: &[u8]| {
        names.push(id);
        data.encode(&mut names);
    };
    let mut name = Vec::new();
    own.encode(&mut name);
    put(OWN_NAME, &name);
    while !others.eof() {
        let id = others.read_u8()?;
        let bytes = others.read_var_u32()? as usize;
        let data = others.read_bytes(bytes)?;
        if id != OWN_NAME {
            put(id, data);
        }
    }
    Ok(names)
}
