//! What the people of `access.users` and `access.groups` may grant tasks. Root and the daemon's own user may grant anything: whatever a
//! task can reach, they can reach without it. Others must not reach by a task what only the daemon's user can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use taskhost_core::ports::{Actor, GrantFault, GrantGate};
use taskhost_core::spec::{DirGrant, Grants, HostMatch, HostPattern};

/// The section `[grants]`. What it does not name (environment, settings, key-value stores, public hosts by their names) anybody may
/// grant who may use the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantRules {
    /// Folders that may be granted, with all that is below them.
    pub dirs: Vec<PathBuf>,
    /// Names of secrets that may be granted.
    pub secrets: Vec<String>,
    /// Addresses, nets and `localhost`, as they may be granted or wider.
    pub private_hosts: Vec<HostPattern>,
}

impl GrantGate for GrantRules {
    fn check(&self, by: Actor, grants: &Grants) -> Result<(), GrantFault> {
        let Actor::Uid(uid) = by else { return Ok(()) };
        if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        let refused = |what: String, hint: String| {
            Err(GrantFault { message: format!("uid {uid} may not have a task with {what}"), hint })
        };
        for dir in &grants.dirs {
            if let Err(why) = self.check_dir(dir) {
                return refused(format!("the folder `{}`", dir.host), why);
            }
        }
        if let Some(secret) = grants.secrets.iter().find(|secret| !self.secrets.contains(secret)) {
            return refused(format!("the secret `{secret}`"), ask_for("the secret", "secrets"));
        }
        let covered = |host: &&HostPattern| self.private_hosts.iter().any(|allowed| covers(allowed, host));
        if let Some(host) = grants.hosts.iter().filter(|host| is_private(host)).find(|host| !covered(host)) {
            return refused(format!("access to `{host}`"), ask_for("the address or its net", "private_hosts"));
        }
        Ok(())
    }
}

impl GrantRules {
    /// Refuses a folder with what would help.
    fn check_dir(&self, dir: &DirGrant) -> Result<(), String> {
        // A folder that is not there is under no root: who may not grant it is not told whether it is.
        let real = Path::new(&dir.host).canonicalize().ok();
        let below = |root: &PathBuf| {
            real.as_ref().is_some_and(|real| root.canonicalize().is_ok_and(|root| real.starts_with(root)))
        };
        match real.as_ref() {
            Some(real) if self.dirs.iter().any(below) => {
                // A link is its owner's to turn elsewhere, once the folder is granted. The engine follows none when it opens one.
                if real == Path::new(&dir.host) {
                    Ok(())
                } else {
                    Err(format!("name it `{}`, without links", real.display()))
                }
            }
            _ => Err(ask_for("the folder or one above it", "dirs")),
        }
    }
}

fn ask_for(what: &str, setting: &str) -> String {
    format!("the host's administrator allows that with {what} in `grants.{setting}` of the host's configuration")
}

/// Whether a pattern names addresses, so that it may reach what is not public. A public address is not told from others: that one
/// may be granted by its host's name.
fn is_private(host: &HostPattern) -> bool {
    let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let port = host.port.unwrap_or(1);
    matches!(host.host, HostMatch::Net { .. }) || loopbacks.iter().any(|address| host.names_address(*address, port))
}

/// Whether all that `granted` names is in `allowed`.
fn covers(allowed: &HostPattern, granted: &HostPattern) -> bool {
    let has_port = allowed.port.is_none() || allowed.port == granted.port;
    has_port
        && match (&allowed.host, &granted.host) {
            (HostMatch::Net { bits: most, .. }, HostMatch::Net { address, bits }) => {
                bits >= most && allowed.names_address(*address, allowed.port.or(granted.port).unwrap_or(1))
            }
            (allowed, granted) => allowed == granted,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Actor = Actor::Uid(4_000_000_001);

    fn hosts(patterns: &[&str]) -> Vec<HostPattern> {
        patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect()
    }

    fn dir(host: &Path) -> Grants {
        let host = host.to_str().expect("a path of UTF-8").to_owned();
        Grants { dirs: vec![DirGrant { guest: host.clone(), host, read_only: true }], ..Grants::default() }
    }

    #[track_caller]
    fn refused(rules: &GrantRules, grants: &Grants) -> GrantFault {
        rules.check(STRANGER, grants).expect_err("it is not theirs to give")
    }

    #[test]
    fn root_and_the_own_user_may_grant_anything_and_others_what_is_listed() {
        let rules = GrantRules::default();
        let grants =
            Grants { secrets: vec!["key".to_owned()], hosts: hosts(&["127.0.0.1:80"]), ..dir(Path::new("/etc")) };
        let own = Actor::Uid(rustix::process::geteuid().as_raw());
        for by in [Actor::Uid(0), own, Actor::Host] {
            assert_eq!(rules.check(by, &grants), Ok(()), "{by}");
        }
        let fault = refused(&rules, &grants);
        assert_eq!(fault.message, "uid 4000000001 may not have a task with the folder `/etc`");
        assert!(fault.hint.contains("`grants.dirs`"), "{fault:?}");
        let anybodys = Grants {
            env: [("A".to_owned(), "b".to_owned())].into(),
            config: [("a".to_owned(), "b".to_owned())].into(),
            hosts: hosts(&["example.com:443", "*.example.com:*", "*:443"]),
            kv: true,
            ..Grants::default()
        };
        assert_eq!(rules.check(STRANGER, &anybodys), Ok(()));
        let listed = GrantRules { secrets: vec!["key".to_owned()], ..GrantRules::default() };
        assert_eq!(listed.check(STRANGER, &Grants { secrets: vec!["key".to_owned()], ..Grants::default() }), Ok(()));
        let other = Grants { secrets: vec!["key".to_owned(), "other".to_owned()], ..Grants::default() };
        assert!(refused(&listed, &other).message.ends_with("the secret `other`"));
    }

    #[test]
    fn others_grant_folders_below_a_root_by_their_real_names_only() {
        let temp = tempfile::tempdir().expect("a folder");
        let top = temp.path().canonicalize().expect("it is there");
        let (root, inner, outer) = (top.join("root"), top.join("root/inner"), top.join("root-not"));
        for folder in [&root, &inner, &outer] {
            std::fs::create_dir(folder).expect("made");
        }
        std::os::unix::fs::symlink(&outer, root.join("out")).expect("made");
        std::os::unix::fs::symlink(&inner, root.join("in")).expect("made");
        std::os::unix::fs::symlink(&root, top.join("link-to-root")).expect("made");
        let rules = GrantRules { dirs: vec![top.join("link-to-root")], ..GrantRules::default() };
        for granted in [&root, &inner] {
            assert_eq!(rules.check(STRANGER, &dir(granted)), Ok(()), "{granted:?}");
        }
        for withheld in [&top, &outer, &root.join("out"), &root.join("absent")] {
            assert!(refused(&rules, &dir(withheld)).hint.contains("grants.dirs"), "{withheld:?}");
        }
        let hint = refused(&rules, &dir(&root.join("in"))).hint;
        assert_eq!(hint, format!("name it `{}`, without links", inner.display()));
    }

    #[test]
    fn others_grant_addresses_that_are_in_a_listed_net() {
        let rules = GrantRules {
            private_hosts: hosts(&["10.0.0.0/16:*", "localhost:80", "[fd00::/8]:443"]),
            ..Default::default()
        };
        let grant = |pattern: &str| Grants { hosts: hosts(&[pattern]), ..Grants::default() };
        for pattern in ["10.0.0.0/16:*", "10.0.2.3:80", "10.0.128.0/17:*", "localhost:80", "[fd00::1]:443"] {
            assert_eq!(rules.check(STRANGER, &grant(pattern)), Ok(()), "{pattern}");
        }
        for pattern in [
            "10.0.0.0/8:80",
            "10.2.0.1:80",
            "0.0.0.0/0:80",
            "localhost:*",
            "localhost:81",
            "127.0.0.1:80",
            "[fd00::1]:80",
            "[::/0]:443",
            "192.0.2.1:80",
        ] {
            assert!(refused(&rules, &grant(pattern)).hint.contains("grants.private_hosts"), "{pattern}");
        }
    }
}
