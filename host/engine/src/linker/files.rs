//! What a guest does in the folders that it is granted, where we look at it before wasmtime does.
//!
//! - **Only files and folders are opened.** Opening or reading a named pipe or a device may block for ever, and the thread with
//!   it. The kind is looked at before, which leaves a race: somebody who replaces the file in between. No guest can make a pipe
//!   or a device; to move one that is there over a file at that moment, it must be running twice and may write.
//!   What that gains it is one thread of the host's that waits.
//! - **A call that blocks runs on a blocking thread of the worker's runtime** while the guest is parked. One that is stopped then
//!   leaves the call behind to end by itself; of those the runtime has at most 512, and the guest as many as it has handles.

use taskhost_core::spec::DirGrant;
use wasmtime::component::{self, Resource};
use wasmtime::{Caller, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p1::types as preview1_types;
use wasmtime_wasi::p1::wasi_snapshot_preview1 as preview1;
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, NewTimestamp, OpenFlags, PathFlags,
};
use wiggle::{GuestMemory, GuestPtr};

use crate::grant::denials::quoted;
use crate::grant::reach::Reach;
use crate::linker::preview1::{NOT_PERMITTED, PREVIEW1, enter};
use crate::state::State;

/// What a guest wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Writes to the task's log why a call was not permitted.
fn tell(reach: &Reach, access: Access, path: Option<&str>) {
    reach.tell(|| {
        let what = path.map_or_else(String::new, |path| format!(" {}", quoted(path)));
        let mut read_only = reach.grants().dirs.iter().filter(|dir| dir.read_only);
        match (access, read_only.next(), read_only.next()) {
            (Access::Write, Some(DirGrant { host, guest, .. }), None) => {
                format!("denied: writing{what} in {guest} (read-only); allow it with --dir {host}::{guest} without :ro")
            }
            (Access::Write, Some(_), Some(_)) => {
                format!(
                    "denied: writing{what} in a folder that is read-only; grant it with --dir HOST::GUEST without :ro"
                )
            }
            _ => format!(
                "denied: opening{what}, which leads out of the granted folder, or which the host's user may not; \
                 grant a folder with --dir HOST::GUEST"
            ),
        }
    });
}

fn tell_kind(reach: &Reach, path: &str) {
    reach.tell(|| {
        format!("denied: opening {}, which is neither a file nor a folder; nothing else is opened", quoted(path))
    });
}

/// Puts our own functions before wasmtime's where a guest asks for folders, opens something, or changes something.
pub(crate) fn add_to_linker(linker: &mut component::Linker<State>) -> wasmtime::Result<()> {
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.2.12")?;
    preopens.func_wrap("get-directories", |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        state.reach.asks_for_dirs();
        Ok((state.filesystem().get_directories()?,))
    })?;

    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    type Open = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, State>, (dir, follow, path, open, flags): Open| {
            Box::new(async move { Ok((open_at(store.data_mut(), dir, follow, path, open, flags).await?,)) })
        },
    )?;
    // Changes: a refusal of each is told.
    macro_rules! changes {
        ($($name:literal $method:ident($($argument:ident: $ty:ty),*);)*) => {$(
            types.func_wrap_async(
                concat!("[method]descriptor.", $name),
                |mut store: StoreContextMut<'_, State>, ($($argument,)*): ($($ty,)*)| {
                    Box::new(async move {
                        let state = store.data_mut();
                        let done = state.filesystem().$method($($argument),*).await;
                        let done = code(done)?;
                        if matches!(done, Err(ErrorCode::NotPermitted)) {
                            tell(&state.reach, Access::Write, None);
                        }
                        Ok((done,))
                    })
                },
            )?;
        )*};
    }
    changes! {
        "create-directory-at" create_directory_at(dir: Resource<Descriptor>, path: String);
        "link-at" link_at(
            dir: Resource<Descriptor>, flags: PathFlags, path: String, to: Resource<Descriptor>, name: String
        );
        "remove-directory-at" remove_directory_at(dir: Resource<Descriptor>, path: String);
        "rename-at" rename_at(dir: Resource<Descriptor>, path: String, to: Resource<Descriptor>, name: String);
        "symlink-at" symlink_at(dir: Resource<Descriptor>, target: String, path: String);
        "unlink-file-at" unlink_file_at(dir: Resource<Descriptor>, path: String);
        "set-size" set_size(file: Resource<Descriptor>, bytes: u64);
        "set-times" set_times(file: Resource<Descriptor>, accessed: NewTimestamp, modified: NewTimestamp);
        "set-times-at" set_times_at(
            dir: Resource<Descriptor>, flags: PathFlags, path: String, accessed: NewTimestamp, modified: NewTimestamp
        );
    }
    Ok(())
}

/// What the guest gets of a failure, unless it traps.
fn code<T>(done: FsResult<T>) -> wasmtime::Result<Result<T, ErrorCode>> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

async fn open_at(
    state: &mut State,
    dir: Resource<Descriptor>,
    follow: PathFlags,
    path: String,
    open: OpenFlags,
    flags: DescriptorFlags,
) -> wasmtime::Result<Result<Resource<Descriptor>, ErrorCode>> {
    let writes = open.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE)
        || flags.intersects(DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY);
    let told = path.clone();
    let found = code(state.filesystem().stat_at(Resource::new_borrow(dir.rep()), follow, path.clone()).await)?;
    let opened = match found.map(|found| found.type_) {
        Ok(DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink)
        | Err(ErrorCode::NoEntry) => code(state.filesystem().open_at(dir, follow, path, open, flags).await)?,
        Ok(_) => {
            tell_kind(&state.reach, &told);
            return Ok(Err(ErrorCode::NotPermitted));
        }
        Err(error) => Err(error),
    };
    if matches!(opened, Err(ErrorCode::NotPermitted)) {
        tell(&state.reach, if writes { Access::Write } else { Access::Read }, Some(&told));
    }
    Ok(opened)
}

/// The same for preview 1.
pub(crate) fn add_to_preview1_linker(linker: &mut wasmtime::Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(PREVIEW1, "fd_prestat_get", |mut caller: Caller<'_, State>, fd: i32, at: i32| {
        caller.data_mut().reach.asks_for_dirs();
        let memory = caller.get_export("memory");
        let (state, mut memory) = enter(&mut caller, memory.as_ref())?;
        preview1::fd_prestat_get(state.preview1(), &mut memory, fd, at)
    })?;
    type Open = (i32, i32, i32, i32, i32, i64, i64, i32, i32);
    linker.func_wrap_async(PREVIEW1, "path_open", |mut caller: Caller<'_, State>, open: Open| {
        Box::new(async move {
            let memory = caller.get_export("memory");
            let (state, mut memory) = enter(&mut caller, memory.as_ref())?;
            path_open(state, &mut memory, open).await
        })
    })?;
    macro_rules! changes {
        ($($name:ident($($argument:ident: $ty:ty),*);)*) => {$(
            linker.func_wrap_async(
                PREVIEW1,
                stringify!($name),
                |mut caller: Caller<'_, State>, ($($argument,)*): ($($ty,)*)| {
                    Box::new(async move {
                        let memory = caller.get_export("memory");
                        let (state, mut memory) = enter(&mut caller, memory.as_ref())?;
                        let done = preview1::$name(state.preview1(), &mut memory, $($argument),*).await?;
                        if done == NOT_PERMITTED {
                            tell(&state.reach, Access::Write, None);
                        }
                        Ok(done)
                    })
                },
            )?;
        )*};
    }
    changes! {
        fd_filestat_set_size(fd: i32, bytes: i64);
        fd_filestat_set_times(fd: i32, accessed: i64, modified: i64, flags: i32);
        path_create_directory(dir: i32, path: i32, len: i32);
        path_filestat_set_times(
            dir: i32, follow: i32, path: i32, len: i32, accessed: i64, modified: i64, flags: i32
        );
        path_link(dir: i32, follow: i32, path: i32, len: i32, to: i32, name: i32, name_len: i32);
        path_remove_directory(dir: i32, path: i32, len: i32);
        path_rename(dir: i32, path: i32, len: i32, to: i32, name: i32, name_len: i32);
        path_symlink(target: i32, target_len: i32, dir: i32, path: i32, len: i32);
        path_unlink_file(dir: i32, path: i32, len: i32);
    }
    Ok(())
}

async fn path_open(
    state: &mut State,
    memory: &mut GuestMemory<'_>,
    (dir, follow, path, len, open, rights, inheriting, flags, opened): (i32, i32, i32, i32, i32, i64, i64, i32, i32),
) -> wasmtime::Result<i32> {
    use preview1::WasiSnapshotPreview1;
    use preview1_types::{Errno, Fd, Filetype, Lookupflags, Oflags, Rights};

    let text = GuestPtr::<str>::new((path as u32, len as u32));
    let told =
        |memory: &GuestMemory<'_>| memory.as_cow_str(text).map_or_else(|_| String::new(), |text| text.into_owned());
    let refused = |reach: &Reach, memory: &GuestMemory<'_>, errno: i32| {
        if errno == NOT_PERMITTED {
            let writes = Oflags::from_bits_truncate(open as u16).intersects(Oflags::CREAT | Oflags::TRUNC)
                || Rights::from_bits_truncate(rights as u64).contains(Rights::FD_WRITE);
            tell(reach, if writes { Access::Write } else { Access::Read }, Some(&told(memory)));
        }
        errno
    };
    let lookup = Lookupflags::from_bits_truncate(follow as u32);
    let found = state.preview1().path_filestat_get(memory, Fd::from(dir as u32), lookup, text).await;
    match found {
        Ok(found) if matches!(found.filetype, Filetype::RegularFile | Filetype::Directory | Filetype::SymbolicLink) => {
        }
        Ok(_) => {
            tell_kind(&state.reach, &told(memory));
            return Ok(NOT_PERMITTED);
        }
        // What can't be looked at is not opened, for it may be anything; what is not there may be made.
        Err(error) => match error.downcast()? {
            // And through what is no open folder, nothing is opened.
            Errno::Noent | Errno::Badf => {}
            errno => return Ok(refused(&state.reach, memory, errno as i32)),
        },
    }
    let done =
        preview1::path_open(state.preview1(), memory, dir, follow, path, len, open, rights, inheriting, flags, opened)
            .await?;
    Ok(refused(&state.reach, memory, done))
}
