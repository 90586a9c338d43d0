//! Reaches for files, names, sockets and HTTP, one step after the other as its arguments say, and prints what came of each. A
//! step is a verb and what it takes; a step that fails prints the error's code, and the next one goes on.

use std::fmt::Debug;

use taskhost_plugin::{Failure, Tick, println};
use wasip2::cli::environment;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::ErrorCode as FileError;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme};
use wasip2::io::streams::{InputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup;
use wasip2::sockets::network::{ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::OutgoingDatagram;
use wasip2::sockets::udp_create_socket::create_udp_socket;

/// What is read at once.
const CHUNK_BYTES: u64 = 64 * 1024;

taskhost_plugin::plugin!(run);

fn run(_: Tick) -> Result<Option<String>, Failure> {
    let arguments = taskhost_plugin::args();
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(verb) = rest.next() {
        let mut next = || rest.next().ok_or_else(|| Failure::permanent(format!("{verb} takes more")));
        let done = match verb {
            "env" => Ok(format!("{:?}", environment::get_environment())),
            "dirs" => Ok(format!("{:?}", names_of_dirs())),
            "read" => read(next()?),
            "write" => write(next()?, next()?),
            "append" => append(next()?, next()?),
            "change" => change(next()?, next()?),
            "get" => get(next()?),
            "post" => post(next()?, next()?),
            "look-up" => look_up(next()?),
            "tcp" => tcp(next()?, next()?),
            "udp" => udp(next()?, next()?),
            "listen" => listen(next()?),
            "spin-ms" => spin(number(next()?)?),
            "must-get" => return get(next()?).map(Some).map_err(Failure::permanent),
            "fail" => return Err(Failure::permanent("as told")),
            _ => return Err(Failure::permanent(format!("unknown verb {verb}"))),
        };
        match done {
            Ok(text) => println!("{verb}: {text}"),
            Err(error) => println!("{verb} failed: {error}"),
        }
    }
    Ok(None)
}

fn number<T: std::str::FromStr<Err: ToString>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| Failure::permanent(error.to_string()))
}

fn code<E: Debug>(error: E) -> String {
    format!("{error:?}")
}

fn names_of_dirs() -> Vec<String> {
    preopens::get_directories().into_iter().map(|(_, name)| name).collect()
}

fn file_error(error: FileError) -> String {
    error.name().to_owned()
}

fn net_error(error: ErrorCode) -> String {
    error.name().to_owned()
}

/// The first folder; every path is taken relative to it, just as it was given.
fn dir() -> Result<Descriptor, String> {
    preopens::get_directories().into_iter().next().map(|(dir, _)| dir).ok_or_else(|| "no folder".to_owned())
}

fn read(path: &str) -> Result<String, String> {
    let file = dir()?
        .open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(file_error)?;
    read_all(&file.read_via_stream(0).map_err(file_error)?)
}

fn read_all(stream: &InputStream) -> Result<String, String> {
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
    // A long text would be cut in the log.
    if bytes.len() > 1000 { Ok(format!("{} bytes", bytes.len())) } else { String::from_utf8(bytes).map_err(code) }
}

fn write(path: &str, text: &str) -> Result<String, String> {
    let open = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = dir()?.open_at(PathFlags::SYMLINK_FOLLOW, path, open, DescriptorFlags::WRITE).map_err(file_error)?;
    let stream = file.write_via_stream(0).map_err(file_error)?;
    stream.blocking_write_and_flush(text.as_bytes()).map_err(code)?;
    Ok("done".to_owned())
}

fn append(path: &str, text: &str) -> Result<String, String> {
    let dir = dir()?;
    let file =
        dir.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ).map_err(file_error)?;
    // Opened for reading only: what is written then is the host's to refuse.
    let stream = file.append_via_stream().map_err(file_error)?;
    stream.blocking_write_and_flush(text.as_bytes()).map_err(code)?;
    Ok("done".to_owned())
}

/// Every other way to change what is in a folder.
fn change(how: &str, path: &str) -> Result<String, String> {
    let dir = dir()?;
    let other = format!("{path}.other");
    match how {
        "truncate" => dir.open_at(PathFlags::empty(), path, OpenFlags::TRUNCATE, DescriptorFlags::WRITE).map(drop),
        "set-size" => dir
            .open_at(PathFlags::empty(), path, OpenFlags::empty(), DescriptorFlags::READ)
            .and_then(|file| file.set_size(0)),
        "rename" => dir.rename_at(path, &dir, &other),
        "unlink" => dir.unlink_file_at(path),
        "mkdir" => dir.create_directory_at(path),
        "rmdir" => dir.remove_directory_at(path),
        "symlink" => dir.symlink_at("target", path),
        "link" => dir.link_at(PathFlags::empty(), path, &dir, &other),
        "set-times" => dir.set_times_at(PathFlags::empty(), path, NewTimestamp::Now, NewTimestamp::Now),
        _ => return Err(format!("unknown change {how}")),
    }
    .map(|()| "done".to_owned())
    .map_err(file_error)
}

fn get(url: &str) -> Result<String, String> {
    let request = request(&Method::Get, url)?;
    answer(request)
}

fn post(url: &str, text: &str) -> Result<String, String> {
    let request = request(&Method::Post, url)?;
    let body = request.body().map_err(code)?;
    let stream = body.write().map_err(code)?;
    let response = outgoing_handler::handle(request, None).map_err(code)?;
    for piece in text.as_bytes().chunks(4096) {
        stream.blocking_write_and_flush(piece).map_err(code)?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(code)?;
    finish(response)
}

fn request(method: &Method, url: &str) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_method(method).map_err(code)?;
    request.set_scheme(Some(&scheme)).map_err(code)?;
    request.set_authority(Some(authority)).map_err(code)?;
    request.set_path_with_query(Some(path)).map_err(code)?;
    Ok(request)
}

fn answer(request: OutgoingRequest) -> Result<String, String> {
    let options = RequestOptions::new();
    finish(outgoing_handler::handle(request, Some(options)).map_err(code)?)
}

fn finish(response: wasip2::http::types::FutureIncomingResponse) -> Result<String, String> {
    response.subscribe().block();
    let response = response.get().ok_or("no answer")?.map_err(code)?.map_err(code)?;
    let status = response.status();
    let body = response.consume().map_err(code)?;
    let text = read_all(&body.stream().map_err(code)?)?;
    drop(IncomingBody::finish(body));
    Ok(format!("{status} {text}"))
}

fn look_up(name: &str) -> Result<String, String> {
    Ok(format!("{:?}", addresses(name)?))
}

fn addresses(name: &str) -> Result<Vec<IpAddress>, String> {
    let stream = ip_name_lookup::resolve_addresses(&instance_network(), name).map_err(net_error)?;
    let mut found = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(address)) => found.push(address),
            Ok(None) => return Ok(found),
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            Err(error) => return Err(net_error(error)),
        }
    }
}

/// Where `HOST:PORT` is: an IPv4 address, or the first that a lookup answers with.
fn address(text: &str) -> Result<IpSocketAddress, String> {
    let (host, port) = text.rsplit_once(':').ok_or("no port")?;
    let port: u16 = port.parse().map_err(code)?;
    let address = match host.parse::<std::net::Ipv4Addr>() {
        Ok(address) => {
            let [a, b, c, d] = address.octets();
            (a, b, c, d)
        }
        Err(_) => {
            let mut found = addresses(host)?.into_iter();
            found
                .find_map(|address| if let IpAddress::Ipv4(address) = address { Some(address) } else { None })
                .ok_or("no address")?
        }
    };
    Ok(IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))
}

/// Says something, and reads until the other side is done.
fn tcp(to: &str, text: &str) -> Result<String, String> {
    let address = address(to)?;
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(net_error)?;
    socket.start_connect(&instance_network(), address).map_err(net_error)?;
    let (input, output) = loop {
        match socket.finish_connect() {
            Ok(streams) => break streams,
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            Err(error) => return Err(net_error(error)),
        }
    };
    output.blocking_write_and_flush(text.as_bytes()).map_err(code)?;
    read_all(&input)
}

/// Sends a datagram, and waits for one.
fn udp(to: &str, text: &str) -> Result<String, String> {
    let to = address(to)?;
    let socket = create_udp_socket(IpAddressFamily::Ipv4).map_err(net_error)?;
    let any = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) });
    socket.start_bind(&instance_network(), any).map_err(net_error)?;
    socket.finish_bind().map_err(net_error)?;
    let (input, output) = socket.stream(None).map_err(net_error)?;
    output.subscribe().block();
    output.check_send().map_err(net_error)?;
    output.send(&[OutgoingDatagram { data: text.as_bytes().to_vec(), remote_address: Some(to) }]).map_err(net_error)?;
    // Sending goes on in the background, and so does its refusal.
    output.subscribe().block();
    output.check_send().map_err(net_error)?;
    loop {
        match input.receive(1).map_err(net_error)?.pop() {
            Some(datagram) => return String::from_utf8(datagram.data).map_err(code),
            None => input.subscribe().block(),
        }
    }
}

fn listen(at: &str) -> Result<String, String> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(net_error)?;
    socket.start_bind(&instance_network(), address(at)?).map_err(net_error)?;
    socket.finish_bind().map_err(net_error)?;
    socket.start_listen().map_err(net_error)?;
    socket.finish_listen().map_err(net_error)?;
    Ok("listening".to_owned())
}

/// Computes for so long, without a call to the host but for the time.
fn spin(ms: u64) -> Result<String, String> {
    let until = wasip2::clocks::monotonic_clock::now() + ms * 1_000_000;
    let mut turns = 0_u64;
    while wasip2::clocks::monotonic_clock::now() < until {
        for _ in 0..100_000 {
            turns = std::hint::black_box(turns + 1);
        }
    }
    Ok("done".to_owned())
}
