//! The flags of `add` and `edit` for what a plugin may do beside computing, and how much of it. The host knows the grants of a task as
//! one member, and its limits; people change one at a time.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use taskhost_api::{Dir, DirText, Grants, LimitText, Limits, Pair};

use crate::failure::Failure;
use crate::value::Setting;

/// The heading says what every flag below it is about.
const GRANTS: &str = "Grants: nothing by default; each but --kv may be repeated";

#[derive(Debug, Default, Args)]
#[command(next_help_heading = GRANTS)]
pub(crate) struct GrantFlags {
    /// Set an environment variable; not for secrets: whoever uses the host can read it
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<Change<Pair>>,

    /// Give it this folder of the host's machine, under another name with ::GUEST, only to read with :ro
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]")]
    dirs: Vec<Change<DirText>>,

    /// Let it connect there: a name, *.NAME, an address, a net like 10.0.0.0/8 or *, with a port or *. Addresses that are not
    /// public must be named as addresses
    #[arg(long = "allow-host", value_name = "HOST:PORT")]
    hosts: Vec<Change<String>>,

    /// Set a value that it reads through wasi:config
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<Change<Pair>>,

    /// Let it read this secret of the host through wasi:config
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<Change<String>>,

    /// Give it a key-value store of its own
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    kv: Option<bool>,

    /// Take all grants away that are not given here
    #[arg(long)]
    no_grants: bool,
}

impl GrantFlags {
    /// Whether they change some of what a task is granted, so that what it had decides the rest.
    pub(super) fn change_some(&self) -> bool {
        !self.no_grants && self.give_any()
    }

    fn give_any(&self) -> bool {
        let Self { env, dirs, hosts, config, secrets, kv, no_grants: _ } = self;
        let none = env.is_empty() && dirs.is_empty() && hosts.is_empty() && config.is_empty() && secrets.is_empty();
        !none || kv.is_some()
    }

    /// What they make of what a task was granted, as a patch has it. `before` is `None` of a task that is new.
    pub(super) fn into_patch(self, before: Option<Grants>) -> Result<Option<Option<Grants>>, Failure> {
        if !self.no_grants && !self.give_any() {
            return Ok(None);
        }
        let Self { env, dirs, hosts, config, secrets, kv, no_grants } = self;
        let has_any = before.is_some() && !no_grants;
        let mut grants = before.filter(|_| !no_grants).unwrap_or_default();
        let mut away = Vec::new();
        for change in env {
            match change {
                Change::To(Pair { key, value }) => drop(grants.env.insert(key, value)),
                Change::Away(key) => away.extend(grants.env.remove(&key).is_none().then_some(key)),
            }
        }
        for change in config {
            match change {
                Change::To(Pair { key, value }) => drop(grants.config.insert(key, value)),
                Change::Away(key) => away.extend(grants.config.remove(&key).is_none().then_some(key)),
            }
        }
        for change in dirs {
            match change {
                Change::To(dir) => put(&mut grants.dirs, told_from_here(dir)?, |old, new| old.guest == new.guest),
                Change::Away(guest) => away.extend(take(&mut grants.dirs, guest, |dir, guest| dir.guest == guest)),
            }
        }
        for change in hosts {
            match change {
                Change::To(host) => put(&mut grants.hosts, host, |old, new| are_one_host(old, new)),
                Change::Away(host) => away.extend(take(&mut grants.hosts, host, |old, host| are_one_host(old, host))),
            }
        }
        for change in secrets {
            match change {
                Change::To(name) => put(&mut grants.secrets, name, |old, new| old == new),
                Change::Away(name) => away.extend(take(&mut grants.secrets, name, |old, name| old == name)),
            }
        }
        if let Some(kv) = kv {
            grants.kv = kv;
        }
        match away.first() {
            // As with labels, what a task did not have may be taken away from it, so that an edit can be done twice.
            Some(name) if !has_any => {
                let hint =
                    format!("a value that ends in `-` takes a grant away; a folder is also written `{name}-::{name}-`");
                Err(Failure::usage(format!("there is no grant `{name}` to take away"), hint))
            }
            _ => Ok(Some((grants != Grants::default()).then_some(grants))),
        }
    }
}

/// A grant to give, or with its name and a `-`, to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change<T> {
    To(T),
    Away(String),
}

impl<T: FromStr> FromStr for Change<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        // A folder's two names stand around `::`, which an IPv6 address in brackets may have too.
        let in_brackets = text.strip_prefix('[').and_then(|text| text.split_once(']'));
        let is_address = in_brackets.is_some_and(|(address, _)| address.contains(':'));
        let is_pair = text.contains('=') || text.contains("::") && !is_address;
        match text.strip_suffix('-') {
            Some(name) if !name.is_empty() && !is_pair => Ok(Self::Away(name.to_owned())),
            _ => text.parse().map(Self::To),
        }
    }
}

/// Whether two texts name one host and port: the daemon tells names in lower case and addresses as short as they can be, and people may
/// write `EXAMPLE.com:443` or `[0:0::1]:80`. What is none is for the daemon to refuse.
fn are_one_host(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || address(one).is_some_and(|address_of_one| address(other) == Some(address_of_one))
}

/// An address or a net, with how many bits of it count, and its port.
fn address(text: &str) -> Option<(IpAddr, u8, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let (address, bits) = in_brackets
        .unwrap_or(host)
        .split_once('/')
        .map_or((in_brackets.unwrap_or(host), None), |(address, bits)| (address, Some(bits)));
    let address =
        address.parse::<IpAddr>().ok().filter(|address| address.is_ipv6() == in_brackets.is_some())?.to_canonical();
    let bits = bits.map_or(Ok(if address.is_ipv6() { 128 } else { 32 }), str::parse).ok()?;
    Some((address, bits, port))
}

/// Puts an item in the place of the one that is the same but for what is given with it, or at the end.
fn put<T>(list: &mut Vec<T>, item: T, is_same: impl Fn(&T, &T) -> bool) {
    match list.iter_mut().find(|old| is_same(old, &item)) {
        Some(old) => *old = item,
        None => list.push(item),
    }
}

/// Takes the items of a name away; answers with the name if there are none.
fn take<T>(list: &mut Vec<T>, wanted: String, has_name: impl Fn(&T, &str) -> bool) -> Option<String> {
    let before = list.len();
    list.retain(|item| !has_name(item, &wanted));
    (list.len() == before).then_some(wanted)
}

fn told_from_here(dir: DirText) -> Result<Dir, Failure> {
    if dir.host.starts_with('/') {
        return Ok(dir.into_dir("/"));
    }
    let here = std::env::current_dir().ok().and_then(|here| here.into_os_string().into_string().ok());
    here.map(|here| dir.into_dir(&here)).ok_or_else(|| {
        let hint = "give the folder's whole path, beginning with `/`";
        Failure::usage("the working folder is gone or has no name of UTF-8 to tell a path from", hint)
    })
}

#[derive(Debug, Default, Args)]
pub(crate) struct LimitFlags {
    /// Limit something else of an attempt or the task, like cpu_ms=5s or log_bytes=64KiB; may be repeated. NAME=default takes one
    /// away, default alone takes all
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<Setting<LimitText>>,
}

impl LimitFlags {
    /// Whether they change some of a task's limits, so that what it had decides the rest.
    pub(super) fn change_some(&self) -> bool {
        !self.limits.is_empty() && !self.limits.contains(&Setting::Default)
    }

    /// What they make of the limits that a task had, as a patch has it.
    pub(super) fn into_patch(self, before: Option<Limits>) -> Option<Option<Limits>> {
        if self.limits.is_empty() {
            return None;
        }
        let mut limits = before.filter(|_| self.change_some()).unwrap_or_default();
        for limit in self.limits {
            match limit {
                Setting::Default => {}
                Setting::To(LimitText { name, value: Some(value) }) => drop(limits.0.insert(name, value)),
                Setting::To(LimitText { name, value: None }) => drop(limits.0.remove(&name)),
            }
        }
        Some((!limits.0.is_empty()).then_some(limits))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        grants: GrantFlags,
        #[command(flatten)]
        limits: LimitFlags,
    }

    fn flags(words: &str) -> Flags {
        Flags::try_parse_from(["x"].into_iter().chain(words.split_whitespace())).expect(words)
    }

    fn edited(words: &str, before: Value) -> Value {
        let before = serde_json::from_value(before).expect("grants");
        let patch = flags(words).grants.into_patch(Some(before)).expect("a patch");
        serde_json::to_value(patch.expect("a change")).expect("JSON")
    }

    fn some() -> Value {
        json!({
            "env": {"A": "1", "B": "2"}, "dirs": [{"host": "/a", "guest": "/x"}, {"host": "/b", "guest": "/y"}],
            "hosts": ["a.example:1", "b.example:2"], "config": {"c": "3"}, "secrets": ["s", "t"], "kv": true,
        })
    }

    #[test]
    fn what_is_given_is_added_to_what_a_task_had() {
        let words = "--env A=5 --env C=a=b- --dir /c::/x:ro --dir /d --allow-host [::1]:* --allow-host a.example:1 \
                     --config d= --secret u";
        assert_eq!(
            edited(words, some()),
            json!({
                "env": {"A": "5", "B": "2", "C": "a=b-"},
                "dirs": [
                    {"host": "/c", "guest": "/x", "read_only": true}, {"host": "/b", "guest": "/y"}, {"host": "/d", "guest": "/d"},
                ],
                "hosts": ["a.example:1", "b.example:2", "[::1]:*"], "config": {"c": "3", "d": ""}, "secrets": ["s", "t", "u"],
                "kv": true,
            })
        );
    }

    #[test]
    fn a_hyphen_after_its_name_takes_a_grant_away() {
        let words = "--env A- --dir /y- --allow-host a.example:1- --config c- --secret s- --kv=false";
        assert_eq!(
            edited(words, some()),
            json!({
                "env": {"B": "2"}, "dirs": [{"host": "/a", "guest": "/x"}], "hosts": ["b.example:2"], "secrets": ["t"],
            })
        );
        assert_eq!(edited("--env Z-", some()), some(), "as with labels, it need not be there");
        assert_eq!(edited("--kv=false", json!({"kv": true})), Value::Null, "the last one");
        assert_eq!(edited("--dir /d-::/d-", json!({})), json!({"dirs": [{"host": "/d-", "guest": "/d-"}]}));
    }

    #[test]
    fn a_host_is_taken_away_in_any_spelling_of_it() {
        let hosts = json!({"hosts": ["example.com:443", "*.b.example:*", "[::1]:80", "10.0.0.0/8:53", "[fd00::/8]:1"]});
        for (words, left) in [
            ("--allow-host EXAMPLE.COM:443-", json!(["*.b.example:*", "[::1]:80", "10.0.0.0/8:53", "[fd00::/8]:1"])),
            (
                "--allow-host [0:0:0:0:0:0:0:1]:80-",
                json!(["example.com:443", "*.b.example:*", "10.0.0.0/8:53", "[fd00::/8]:1"]),
            ),
            (
                "--allow-host [0:0:0:0:0:0:0:1/128]:80-",
                json!(["example.com:443", "*.b.example:*", "10.0.0.0/8:53", "[fd00::/8]:1"]),
            ),
            (
                "--allow-host *.B.example:*- --allow-host 10.0.0.0/8:53-",
                json!(["example.com:443", "[::1]:80", "[fd00::/8]:1"]),
            ),
            (
                "--allow-host [FD00:0::/8]:1- --allow-host Example.com:443",
                json!(["Example.com:443", "*.b.example:*", "[::1]:80", "10.0.0.0/8:53"]),
            ),
        ] {
            assert_eq!(edited(words, hosts.clone())["hosts"], left, "{words}");
        }
        // What is wrong is not made right on the way, nor taken for something else.
        for wrong in ["10.0.0.0/x:53", "10.0.0.0/300:53", "[10.0.0.1]:80", "EXAMPLE.com"] {
            let hosts = json!({"hosts": ["10.0.0.0:53", "[::1]:80", "10.0.0.1:80"]});
            let told = edited(&format!("--allow-host {wrong}"), hosts.clone());
            assert_eq!(told["hosts"].as_array().expect("hosts").last(), Some(&json!(wrong)));
            assert_eq!(edited(&format!("--allow-host {wrong}-"), hosts.clone()), hosts);
        }
        assert_eq!(edited("--dir [x]::/y-", json!({}))["dirs"][0]["guest"], json!("/y-"), "a folder of an odd name");
    }

    #[test]
    fn without_grants_only_those_are_left_that_are_given() {
        assert_eq!(edited("--no-grants", some()), Value::Null);
        assert_eq!(edited("--no-grants --env C=1 --kv", some()), json!({"env": {"C": "1"}, "kv": true}));
        assert!(!flags("--no-grants --kv").grants.change_some() && flags("--kv").grants.change_some());
        assert_eq!(flags("").grants.into_patch(Some(Grants::default())).expect("nothing"), None);
    }

    #[test]
    fn a_new_task_has_nothing_that_can_be_taken_away() {
        for words in ["--env A-", "--dir /data-", "--secret s-", "--no-grants --allow-host a:1-"] {
            let refused = flags(words).grants.into_patch(None).expect_err(words).to_string();
            assert!(refused.starts_with("there is no grant `"), "{words}: {refused}");
        }
    }

    #[test]
    fn limits_are_merged_or_begun_anew() {
        let before = || Some(Limits([("a".to_owned(), 1), ("b".to_owned(), 2)].into()));
        let edited = |words: &str| {
            let patch = flags(words).limits.into_patch(before()).expect("a change");
            serde_json::to_value(patch).expect("JSON")
        };
        assert_eq!(edited("--limit b=3 --limit c_bytes=1k"), json!({"a": 1, "b": 3, "c_bytes": 1024}));
        assert_eq!(edited("--limit a=default"), json!({"b": 2}));
        assert_eq!(edited("--limit default"), Value::Null);
        assert_eq!(edited("--limit default --limit c=3"), json!({"c": 3}));
        assert_eq!(flags("").limits.into_patch(before()), None);
        assert!(
            flags("--limit a=1").limits.change_some() && !flags("--limit default --limit a=1").limits.change_some()
        );
    }
}
