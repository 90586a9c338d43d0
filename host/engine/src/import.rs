//! What the host has for plugins to import, by name. Whether the types agree shows when a plugin is linked.

use crate::linker::preview1::PREVIEW1;
use crate::linker::{config, key_value, logging};
use crate::wit::v0_1_0;

/// Every function of WASI preview 1.
const PREVIEW1_FUNCTIONS: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// Every interface of WASI 0.2 that is linked, without its version: all of 0.2.x are served by the newest.
const WASI_INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The same of WASI 0.3.
const WASI_0_3_INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/client",
    "wasi:http/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// The versions of WASI that components may be built against.
const WASI_VERSIONS: [(&str, &[&str]); 2] = [("0.2.", WASI_INTERFACES), ("0.3.", WASI_0_3_INTERFACES)];

/// What is served in exactly these versions.
const OTHERS: [&[&str]; 4] = [v0_1_0::IMPORTS, config::IMPORTS, key_value::IMPORTS, logging::IMPORTS];

/// Whether the host has what a component imports under this name, version and all.
pub(crate) fn has_interface(name: &str) -> bool {
    let served = |interface: &str, version: &str| {
        WASI_VERSIONS.iter().any(|(served, interfaces)| version.starts_with(served) && interfaces.contains(&interface))
    };
    let is_wasi = name.split_once('@').is_some_and(|(interface, version)| served(interface, version));
    is_wasi || OTHERS.iter().any(|names| names.contains(&name))
}

/// Whether the host has what a preview-1 module imports.
pub(crate) fn has_function(module: &str, name: &str) -> bool {
    module == PREVIEW1 && PREVIEW1_FUNCTIONS.contains(&name)
}

/// Whether this is an export of a WASI command, of 0.2 or 0.3.
pub(crate) fn is_command(export: &str) -> bool {
    let version = export.strip_prefix("wasi:cli/run@");
    version.is_some_and(|version| WASI_VERSIONS.iter().any(|(served, _)| version.starts_with(served)))
}

/// Whether a plugin that has these imports and exports is of WASI 0.3, at least in part.
pub(crate) fn is_wasi_0_3<'a>(names: impl IntoIterator<Item = &'a String>) -> bool {
    names.into_iter().any(|name| name.starts_with("wasi:") && name.contains("@0.3."))
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Linker};
    use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_async};

    use super::*;

    #[test]
    fn the_table_of_preview_1_is_what_is_linked() {
        let engine = Engine::default();
        let mut linker = Linker::<WasiP1Ctx>::new(&engine);
        add_to_linker_async(&mut linker, |wasi| wasi).expect("it links");
        let mut store = wasmtime::Store::new(&engine, wasmtime_wasi::WasiCtx::builder().build_p1());
        let mut linked: Vec<_> = linker.iter(&mut store).map(|(_, name, _)| name.to_owned()).collect();
        linked.sort();
        assert_eq!(linked, PREVIEW1_FUNCTIONS);
    }

    #[test]
    fn any_patch_version_of_wasi_is_served_and_nothing_else() {
        assert!(has_interface("wasi:io/streams@0.2.0") && has_interface("wasi:io/streams@0.2.99"));
        assert!(has_interface("wasi:keyvalue/store@0.2.0-draft") && has_interface("wasi:keyvalue/store@0.2.0-draft2"));
        assert!(has_interface("wasi:http/client@0.3.0") && has_interface("wasi:http/types@0.3.1"));
        for name in [
            "wasi:io/streams@0.3.0",
            "wasi:http/handler@0.3.0",
            "wasi:cli/stdin@0.3",
            "wasi:io/streams",
            "wasi:http/incoming-handler@0.2.0",
            "taskhost:plugin/context@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft3",
            "wasi:keyvalue/watcher@0.2.0-draft",
            "wasi:config/store@0.2.0",
        ] {
            assert!(!has_interface(name), "{name}");
        }
    }
}
