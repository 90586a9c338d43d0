//! Which groups a user is in, from the files of the machine. Users and groups of a network directory are not seen: name
//! those in `access.users` by their uid.

use std::fs;

/// The groups of a user: its own, and those that list it as a member. Empty for a user that the files do not know.
pub(super) fn of(uid: u32) -> Vec<u32> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    parse(uid, &read("/etc/passwd"), &read("/etc/group"))
}

fn parse(uid: u32, passwd: &str, group: &str) -> Vec<u32> {
    // name:password:uid:gid:…
    let own = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let its_uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        (its_uid == uid).then_some((name, gid))
    });
    let Some((name, own_gid)) = own else { return Vec::new() };

    // name:password:gid:member,member
    let listing = group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let gid: u32 = fields.nth(2)?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == name).then_some(gid)
    });
    std::iter::once(own_gid).chain(listing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_in_its_own_group_and_in_those_that_list_it() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbad line\n";
        let group = "root:x:0:\nann:x:1000:\nstaff:x:50:bob,ann\nanna:x:51:anna\n";
        assert_eq!(parse(1000, passwd, group), [1000, 50]);
        assert_eq!(parse(1001, passwd, group), [0; 0]);
    }
}
