//! What the other values may be. A message completes "`setting` in FILE: …".

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use taskhost_core::schedule::Zone;
use taskhost_core::spec::{HostMatch, HostPattern, check_secret_name};
use taskhost_core::time::{DurationError, format_duration, parse_duration};
use tracing_subscriber::filter::LevelFilter;

/// The most worker threads.
pub(super) const MAX_WORKERS: usize = 256;

/// The most addresses to listen on.
const MAX_LISTEN: usize = 16;

/// The longest grace, at the end and for a cancelled run.
const MAX_GRACE: Duration = Duration::from_secs(86_400);

/// The longest that a due time may wait for others: half of what the shortest tolerance of lateness is (docs/runs.md), beyond which it
/// would be missed.
const MAX_TIMER_SLACK: Duration = Duration::from_millis(500);

/// The most entries of each list in `[grants]`.
const MAX_GRANT_RULES: usize = 256;

pub(super) fn check_data_dir(path: PathBuf) -> Result<PathBuf, String> {
    if path.as_os_str().is_empty() { Err("it is empty".to_owned()) } else { check_path(path) }
}

pub(super) fn check_path(path: PathBuf) -> Result<PathBuf, String> {
    // A shell would have made it a home; here it would become a folder of that name.
    if path.starts_with("~") { Err("`~` means nothing here; write the whole path".to_owned()) } else { Ok(path) }
}

pub(super) fn check_listen(addresses: Vec<String>) -> Result<Vec<SocketAddr>, String> {
    if addresses.len() > MAX_LISTEN {
        return Err(format!("{} addresses are too many; at most {MAX_LISTEN} are allowed", addresses.len()));
    }
    addresses.iter().map(|text| check_address(text)).collect()
}

fn check_address(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:").map(str::parse) {
        Some(Ok(port)) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        _ => text
            .parse::<SocketAddr>()
            .map_err(|_| format!("`{text}` is no address; write it like `127.0.0.1:3333` or `[::1]:3333`"))?,
    };
    if address.ip().to_canonical().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "{address} is not a loopback address: whoever reaches it could run programs here, and this version has \
             neither TLS nor a token to keep strangers out; listen on 127.0.0.1 and reach it through an SSH tunnel"
        ))
    }
}

pub(super) fn check_workers(workers: usize) -> Result<usize, String> {
    if (1..=MAX_WORKERS).contains(&workers) {
        Ok(workers)
    } else {
        Err(format!("{workers} workers are out of range; there must be from 1 to {MAX_WORKERS}"))
    }
}

pub(super) fn check_zone(name: String) -> Result<Zone, String> {
    Zone::parse(&name).map_err(|error| error.to_string())
}

pub(super) fn check_grace(text: String) -> Result<Duration, String> {
    match parse_duration(&text).map_err(|error: DurationError| error.to_string())? {
        grace if grace <= MAX_GRACE => Ok(grace),
        _ => Err(format!("`{text}` is longer than a day")),
    }
}

pub(super) fn check_slack(text: String) -> Result<Duration, String> {
    match parse_duration(&text).map_err(|error: DurationError| error.to_string())? {
        slack if slack <= MAX_TIMER_SLACK => Ok(slack),
        _ => Err(format!("`{text}` is longer than {}", format_duration(MAX_TIMER_SLACK))),
    }
}

pub(super) fn check_log(text: String) -> Result<String, String> {
    // A word that is no level would be taken for a module, and nothing else would be logged.
    let is_level = |word: &str| word.contains('=') || word.trim().parse::<LevelFilter>().is_ok();
    if let Some(word) = text.split(',').find(|word| !is_level(word)) {
        return Err(format!(
            "`{word}` is no level: write `error`, `warn`, `info`, `debug` or `trace`, or `MODULE=LEVEL`"
        ));
    }
    match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("`{text}` is no filter: {error}")),
    }
}

/// A list with every entry checked.
pub(super) fn each<T, U>(
    list: Option<Vec<T>>,
    check: impl Fn(T) -> Result<U, String>,
) -> Result<Option<Vec<U>>, String> {
    match list {
        Some(list) if list.len() > MAX_GRANT_RULES => {
            Err(format!("{} entries are too many; at most {MAX_GRANT_RULES} are allowed", list.len()))
        }
        list => list.map(|list| list.into_iter().map(check).collect()).transpose(),
    }
}

pub(super) fn check_root(path: PathBuf) -> Result<PathBuf, String> {
    let path = check_path(path)?;
    if path.is_absolute() { Ok(path) } else { Err(format!("`{}` does not begin with `/`", path.display())) }
}

pub(super) fn check_secret(name: String) -> Result<String, String> {
    check_secret_name(&name).map_err(|error| error.to_string())?;
    Ok(name)
}

pub(super) fn check_private(text: String) -> Result<HostPattern, String> {
    let pattern: HostPattern = text.parse().map_err(|error: taskhost_core::spec::GrantError| error.to_string())?;
    match &pattern.host {
        HostMatch::Net { .. } => Ok(pattern),
        HostMatch::Name(name) if name == "localhost" => Ok(pattern),
        _ => Err(format!(
            "`{text}` is no address, no net and not `localhost`: others need not be listed, since they are reached only where they are public"
        )),
    }
}

/// The number of an account: itself, or by its name in a table of the form of `/etc/passwd` and `/etc/group`.
pub(super) fn account_id(name: &str, table: &str) -> Result<u32, String> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let id_of = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    table
        .lines()
        .find_map(id_of)
        .ok_or_else(|| format!("nobody here is named `{name}`; give the number if it is known elsewhere"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_loopback_net_will_do_and_no_more() {
        for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:3333", "[::ffff:127.0.0.1]:1", "localhost:3333"] {
            assert!(check_address(address).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "localhost", "localhost:x", "127.0.0.1", ""] {
            assert!(check_address(address).is_err(), "{address}");
        }
    }
}
