//! `wasi:keyvalue@0.2.0-draft`.

use taskhost_plugin::Failure;

use crate::bindings::wasi::keyvalue0_2_0_draft::store::{self, Bucket, Error};
use crate::bindings::wasi::keyvalue0_2_0_draft::{atomics, batch};
use crate::{number, pairs, shown};

pub(crate) fn take(words: &[&str]) -> Result<String, Failure> {
    let came_to = match words {
        ["open", name] => store::open(name).map(|_| "ok".to_owned()),
        ["set", key, value] => bucket().and_then(|bucket| bucket.set(key, value.as_bytes())).map(|()| "ok".to_owned()),
        ["get", key] => bucket().and_then(|bucket| bucket.get(key)).map(|value| option(value.as_deref())),
        ["delete", key] => bucket().and_then(|bucket| bucket.delete(key)).map(|()| "ok".to_owned()),
        ["exists", key] => bucket().and_then(|bucket| bucket.exists(key)).map(|found| found.to_string()),
        ["list"] => list(),
        ["increment", key, by] => {
            let by = number(by)?;
            bucket().and_then(|bucket| atomics::increment(&bucket, key, by)).map(|number| number.to_string())
        }
        ["get-many", keys @ ..] => {
            let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
            bucket().and_then(|bucket| batch::get_many(&bucket, &keys)).map(|found| {
                let found = found.iter().map(|found| match found {
                    Some((key, value)) => format!("{key}={}", shown(value)),
                    None => "none".to_owned(),
                });
                found.collect::<Vec<_>>().join(" ")
            })
        }
        ["set-many", texts @ ..] => {
            bucket().and_then(|bucket| batch::set_many(&bucket, &pairs(texts))).map(|()| "ok".to_owned())
        }
        ["delete-many", keys @ ..] => {
            let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
            bucket().and_then(|bucket| batch::delete_many(&bucket, &keys)).map(|()| "ok".to_owned())
        }
        _ => return Err(Failure::permanent(format!("unknown step {words:?}"))),
    };
    Ok(came_to.unwrap_or_else(|error| told(&error)))
}

fn bucket() -> Result<Bucket, Error> {
    store::open("")
}

/// How many keys there are in how many pages, and the first and last of them.
fn list() -> Result<String, Error> {
    let bucket = bucket()?;
    let (mut keys, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = bucket.list_keys(cursor)?;
        keys.extend(page.keys);
        pages += 1;
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let ends = [keys.first(), keys.last()].map(|key| key.map_or("none", |key| key));
    Ok(format!("{} keys in {pages} pages, {} to {}", keys.len(), ends[0], ends[1]))
}

fn option(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("some {}", shown(value)))
}

fn told(error: &Error) -> String {
    match error {
        Error::NoSuchStore => "error no such store".to_owned(),
        Error::AccessDenied => "error access denied".to_owned(),
        Error::Other(words) => format!("error {words}"),
    }
}

