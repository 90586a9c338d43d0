//! HTTP and sockets.

use taskhost_plugin::Failure;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, IncomingResponse, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::OutgoingDatagram;
use wasip2::sockets::udp_create_socket::create_udp_socket;

/// More connections than a guest may have.
const CONNECTIONS: usize = 10_000;

/// How much of a body is asked for at once.
const PIECE_BYTES: u64 = u64::MAX;

/// Asks once, and reads the answer to its end.
pub(crate) fn http(authority: &str, path: &str) -> Result<Option<String>, Failure> {
    let response = request(authority, path).map_err(|code| Failure::new(format!("{code:?}")))?;
    let (status, body) = (response.status(), response.consume().map_err(|()| Failure::new("no body"))?);
    let stream = body.stream().map_err(|()| Failure::new("no stream"))?;
    let mut bytes = 0;
    loop {
        match stream.blocking_read(PIECE_BYTES) {
            Ok(piece) => bytes += piece.len(),
            Err(StreamError::Closed) => return Ok(Some(format!("{status}, {bytes} bytes"))),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(Failure::new(format!("after {bytes} bytes: {}", error.to_debug_string())));
            }
        }
    }
}

fn request(authority: &str, path: &str) -> Result<IncomingResponse, ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    // A request that can't be made is one that is refused later.
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_authority(Some(authority));
    let _ = request.set_path_with_query(Some(path));
    let answer = outgoing_handler::handle(request, None)?;
    answer.subscribe().block();
    answer.get().expect("it is ready").expect("it is taken once")
}

/// Begins many requests and waits for none.
pub(crate) fn http_many(authority: &str, path: &str) -> Result<Option<String>, Failure> {
    let mut answers = Vec::new();
    for number in 0..CONNECTIONS {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_scheme(Some(&Scheme::Http));
        let _ = request.set_authority(Some(authority));
        let _ = request.set_path_with_query(Some(path));
        match outgoing_handler::handle(request, None) {
            Ok(answer) => answers.push(answer),
            Err(code) => return Err(Failure::new(format!("{number} requests, then {code:?}"))),
        }
    }
    for (number, answer) in answers.iter().enumerate() {
        answer.subscribe().block();
        if let Some(Ok(Err(code))) = answer.get() {
            return Err(Failure::new(format!("{number} answers, then {code:?}")));
        }
    }
    Ok(Some(format!("{} requests", answers.len())))
}

/// Fills the fields of a request until the host has enough.
pub(crate) fn fields() -> Result<Option<String>, Failure> {
    let fields = Fields::new();
    for number in 0..CONNECTIONS * 10 {
        if let Err(error) = fields.append(&format!("x-{number}"), &[b'v'; 1024]) {
            return Err(Failure::new(format!("{number} fields, then {error:?}")));
        }
    }
    Ok(Some("all fields".to_owned()))
}

pub(crate) fn resolve(name: &str) -> Result<Option<String>, Failure> {
    let answers = resolve_addresses(&instance_network(), name).map_err(|code| Failure::new(code.name()))?;
    let mut addresses = Vec::new();
    loop {
        answers.subscribe().block();
        match answers.resolve_next_address() {
            Ok(Some(address)) => addresses.push(format!("{address:?}")),
            Ok(None) => return Ok(Some(addresses.join(" "))),
            Err(code) => return Err(Failure::new(code.name())),
        }
    }
}

fn v4(text: &str) -> Result<IpSocketAddress, Failure> {
    let address: std::net::SocketAddrV4 = text.parse().map_err(Failure::permanent)?;
    let [a, b, c, d] = address.ip().octets();
    Ok(IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) }))
}

pub(crate) fn connect(address: &str) -> Result<Option<String>, Failure> {
    let _connected = open(v4(address)?).map_err(Failure::new)?;
    Ok(Some("connected".to_owned()))
}

fn open(address: IpSocketAddress) -> Result<impl Sized, String> {
    let told = |code: wasip2::sockets::network::ErrorCode| code.name().to_owned();
    let socket: TcpSocket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(told)?;
    socket.start_connect(&instance_network(), address).map_err(told)?;
    socket.subscribe().block();
    let streams = socket.finish_connect().map_err(told)?;
    Ok((streams, socket))
}

pub(crate) fn connect_many(address: &str) -> Result<Option<String>, Failure> {
    let address = v4(address)?;
    let mut sockets = Vec::new();
    for number in 0..CONNECTIONS {
        match open(address) {
            Ok(socket) => sockets.push(socket),
            Err(code) => return Err(Failure::new(format!("{number} connections, then {code}"))),
        }
    }
    Ok(Some(format!("{} connections", sockets.len())))
}

pub(crate) fn listen() -> Result<Option<String>, Failure> {
    let told = |code: wasip2::sockets::network::ErrorCode| Failure::new(code.name());
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(told)?;
    socket.start_bind(&instance_network(), v4("127.0.0.1:0")?).map_err(told)?;
    socket.finish_bind().map_err(told)?;
    socket.start_listen().map_err(told)?;
    socket.finish_listen().map_err(told)?;
    Ok(Some("listening".to_owned()))
}

pub(crate) fn datagram(address: &str) -> Result<Option<String>, Failure> {
    let told = |code: wasip2::sockets::network::ErrorCode| Failure::new(code.name());
    let socket = create_udp_socket(IpAddressFamily::Ipv4).map_err(told)?;
    socket.start_bind(&instance_network(), v4("0.0.0.0:0")?).map_err(told)?;
    socket.finish_bind().map_err(told)?;
    let (_, outgoing) = socket.stream(None).map_err(told)?;
    outgoing.check_send().map_err(told)?;
    let datagram = OutgoingDatagram { data: b"x".to_vec(), remote_address: Some(v4(address)?) };
    let sent = outgoing.send(&[datagram]).map_err(told)?;
    Ok(Some(format!("{sent} sent")))
}
