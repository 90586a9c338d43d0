//! `taskctl kv`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use jsonrpsee::core::client::Client;
use taskhost_api::{
    KeyInfo, KeyValueApiClient, KeyValueEntry, KeyValueGetRequest, KeyValueList, KeyValueListRequest,
    KeyValueRemoveRequest, KeyValueSetRequest, KeyValueUsage,
};

use crate::call_error::CallError;
use crate::cause::IoCause;
use crate::cell::Cell;
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::table::Column;
use crate::text::{bytes, quoted};

const COLUMNS: [Column; 2] = [Column::elastic("KEY"), Column::number("SIZE")];

/// The largest value that is sent, in bytes: no host takes more, and a message has a bound of its own.
const MAX_VALUE_BYTES: u64 = 1 << 20;

/// Values up to this size are sent as text where they are text; base64 is never much longer than the value.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Look after the keys and values that a task keeps from run to run
#[derive(Debug, Args)]
pub(crate) struct Kv {
    #[command(subcommand)]
    verb: KvVerb,
}

#[derive(Debug, Subcommand)]
enum KvVerb {
    /// List a task's keys, and how much of its quota it uses
    #[command(visible_alias = "ls")]
    List {
        /// The task
        name: String,
    },
    /// Print a value, byte for byte where it does not go to a terminal
    Get {
        /// The task
        name: String,
        /// The key
        key: String,
    },
    /// Set a value; runs that go on see it at once
    Set {
        /// The task
        name: String,
        /// The key, of 1 to 1024 bytes
        key: String,
        /// The value
        #[arg(allow_hyphen_values = true, required_unless_present = "file")]
        value: Option<String>,
        /// Take the value from a file of at most 1 MiB, or from the standard input for -
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        file: Option<PathBuf>,
    },
    /// Remove keys with their values, all in one change
    #[command(visible_aliases = ["del", "delete"])]
    Rm {
        /// The task
        name: String,
        /// The keys, at most 1024
        #[arg(value_name = "KEY", required_unless_present = "all", conflicts_with = "all")]
        keys: Vec<String>,
        /// Remove every key that the task has
        #[arg(long)]
        all: bool,
    },
}

impl Kv {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        match self.verb {
            KvVerb::List { name } => show(&list(client, &name).await?, &name, output)?,
            KvVerb::Get { name, key } => {
                let doing = || format!("get {} of {}", quoted(&key), quoted(&name));
                let request = KeyValueGetRequest { name: name.clone(), key: key.clone() };
                let entry = client.get_value(request).await.doing(doing)?;
                if output.is_json() {
                    output.document(&entry)?;
                } else {
                    let value = value_of(entry).map_err(CallError::Protocol).doing(doing)?;
                    output.bytes(&value)?;
                }
            }
            KvVerb::Set { name, key, value, file } => {
                let value = match (value, file) {
                    (Some(value), _) => value.into_bytes(),
                    (None, Some(file)) => read_value(&file)?,
                    (None, None) => Vec::new(),
                };
                let doing = format!("set {} of {}", quoted(&key), quoted(&name));
                let request = set_request(name, key, value);
                client.set_value(request.clone()).await.doing(|| doing)?;
                if output.is_json() {
                    output.document(&true)?;
                } else {
                    output.line(&format!("set {} of {}", request.key, request.name))?;
                }
            }
            KvVerb::Rm { name, keys, all } => return remove(client, output, name, keys, all).await,
        }
        Ok(Exit::Done)
    }
}

async fn list(client: &Client, name: &str) -> Result<KeyValueList, Failure> {
    let mut all: Option<KeyValueList> = None;
    loop {
        let cursor = all.as_ref().and_then(|all| all.next_cursor.clone());
        let request = KeyValueListRequest { name: name.to_owned(), cursor, limit: None };
        let mut page = client.list_keys(request).await.doing(|| format!("list the keys of {}", quoted(name)))?;
        if let Some(before) = all {
            page.keys = before.keys.into_iter().chain(page.keys).collect();
        }
        if page.next_cursor.is_none() {
            return Ok(page);
        }
        all = Some(page);
    }
}

fn show(list: &KeyValueList, name: &str, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(list);
    }
    let row = |key: &KeyInfo| [Cell::plain(&key.key), Cell::plain(bytes(key.size_bytes))];
    output.table(&COLUMNS, &list.keys.iter().map(row).collect::<Vec<_>>())?;
    let KeyValueUsage { keys, bytes: used, quota_bytes } = list.usage;
    let noun = if keys == 1 { "key" } else { "keys" };
    output.note(&format!("{keys} {noun}, {} of {}", bytes(used), bytes(quota_bytes)));
    if !list.granted {
        output.note(&format!("the runs of {name} are not granted these (--kv)"));
    }
    Ok(())
}

async fn remove(
    client: &Client,
    output: &mut Output,
    name: String,
    keys: Vec<String>,
    all: bool,
) -> Result<Exit, Failure> {
    let asked = keys.len() as u64;
    let request = KeyValueRemoveRequest { name: name.clone(), keys: (!all).then_some(keys), all };
    let doing = format!("remove keys of {}", quoted(&name));
    let removed = client.remove_keys(request).await.doing(|| doing)?;
    let lacking = if all { 0 } else { asked.saturating_sub(removed.removed) };
    if output.is_json() {
        output.document(&removed)?;
    } else {
        let noun = if removed.removed == 1 { "key" } else { "keys" };
        output.line(&format!("removed {} {noun} of {name}", removed.removed))?;
    }
    if lacking > 0 {
        output.note(&format!("{lacking} of the keys that were to go did not exist"));
        return Ok(Exit::NotFound);
    }
    Ok(Exit::Done)
}

fn set_request(name: String, key: String, value: Vec<u8>) -> KeyValueSetRequest {
    let request = KeyValueSetRequest { name, key, ..KeyValueSetRequest::default() };
    match String::from_utf8(value) {
        Ok(text) if text.len() <= MAX_TEXT_BYTES => KeyValueSetRequest { value: Some(text), ..request },
        Ok(text) => KeyValueSetRequest { base64: Some(BASE64_STANDARD.encode(text)), ..request },
        Err(error) => KeyValueSetRequest { base64: Some(BASE64_STANDARD.encode(error.as_bytes())), ..request },
    }
}

fn value_of(entry: KeyValueEntry) -> Result<Vec<u8>, String> {
    match (entry.value, entry.base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => {
            BASE64_STANDARD.decode(base64).map_err(|error| format!("its value is no base64: {error}"))
        }
        _ => Err("it has no value, or two".to_owned()),
    }
}

fn read_value(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    // One byte more, to see that it is too much.
    let read = match path.to_str() {
        Some("-") => io::stdin().take(MAX_VALUE_BYTES + 1).read_to_end(&mut value),
        _ => File::open(path).and_then(|file| file.take(MAX_VALUE_BYTES + 1).read_to_end(&mut value)),
    };
    read.map_err(|error| Failure::ValueFile { path: path.to_owned(), source: IoCause(error) })?;
    if value.len() as u64 > MAX_VALUE_BYTES {
        let message =
            format!("{} has more than {} MiB, the most that a value has", path.display(), MAX_VALUE_BYTES >> 20);
        return Err(Failure::usage(message, "keep it in several values"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Shown;

    fn some_keys() -> KeyValueList {
        let key = |key: &str, size_bytes| KeyInfo { key: key.to_owned(), size_bytes };
        KeyValueList {
            keys: vec![key("cursor", 20), key("seen/\u{1b}[31m", 1536)],
            next_cursor: None,
            usage: KeyValueUsage { keys: 2, bytes: 1572, quota_bytes: 1 << 20 },
            granted: false,
        }
    }

    #[test]
    fn keys_are_listed_with_what_they_take() {
        let mut shown = Shown::new();
        show(&some_keys(), "web", &mut shown.output).expect("memory takes all");
        insta::assert_snapshot!(format!("{}---\n{}", shown.out(), shown.err()));
    }

    #[test]
    fn a_value_travels_as_text_where_it_is_and_comes_back_as_it_was() {
        let big = "x".repeat(MAX_TEXT_BYTES + 1).into_bytes();
        for (value, is_text) in [(b"plain".to_vec(), true), (vec![0xff, 0, 1], false), (Vec::new(), true), (big, false)]
        {
            let request = set_request("a".to_owned(), "k".to_owned(), value.clone());
            assert_eq!((request.value.is_some(), request.base64.is_some()), (is_text, !is_text));
            let entry = KeyValueEntry { key: request.key, value: request.value, base64: request.base64 };
            assert_eq!(value_of(entry), Ok(value));
        }
    }
}
