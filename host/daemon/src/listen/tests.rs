use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;

use jsonrpsee::client_transport::ws::{Url, WsTransportClientBuilder};
use jsonrpsee::core::client::{Client, ClientBuilder, ClientT, Subscription, SubscriptionClientT};
use jsonrpsee::rpc_params;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::http::tests::Sink;
use crate::stream::toy::Toy;

/// A host of toys on a free port and a Unix socket.
struct Host {
    tcp: SocketAddr,
    unix: PathBuf,
    toy: Arc<Toy>,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn host() -> Host {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let unix = directory.path().join("socket");
    let listeners = Listeners::bind(&[any_port()], Some(&unix)).await.expect("both can be bound");
    let [Address::Tcp(tcp), Address::Unix(path)] = &listeners.addresses()[..] else { panic!("two addresses") };
    assert_eq!(*path, unix);
    let tcp = *tcp;
    let (toy, methods) = Toy::methods();
    let (shutdown, stopped) = oneshot::channel();
    let served = tokio::spawn(async move {
        let shutdown = async { stopped.await.expect("the test tells when to stop") };
        listeners.serve(methods.into(), Sink::default(), AccessPolicy::default(), shutdown).await;
    });
    Host { tcp, unix, toy, shutdown, served, _directory: directory }
}

impl Host {
    async fn stop(self) {
        self.shutdown.send(()).expect("it is served");
        self.served.await.expect("no panic");
    }
}

async fn websocket(address: SocketAddr) -> Client {
    let url = Url::parse(&format!("ws://{address}")).expect("an address makes a URL");
    let (sender, receiver) = WsTransportClientBuilder::default().build(url).await.expect("it upgrades");
    ClientBuilder::default().build_with_tokio(sender, receiver)
}

fn own_uid() -> Value {
    rustix::process::geteuid().as_raw().into()
}

/// Sends one line and reads one.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(socket: S, line: &str) -> String {
    let mut socket = BufReader::new(socket);
    socket.write_all(line.as_bytes()).await.expect("the host reads");
    let mut answer = String::new();
    socket.read_line(&mut answer).await.expect("the connection is whole");
    answer
}

const WHO: &str = "{\"method\":\"who\",\"params\":[],\"id\":1}\n";

#[tokio::test]
async fn every_protocol_is_spoken_on_every_address_and_the_caller_is_known() {
    let host = host().await;
    let expected = format!("{{\"id\":1,\"result\":{},\"error\":null}}\n", own_uid());
    assert_eq!(ask(TcpStream::connect(host.tcp).await.expect("it listens"), WHO).await, expected);
    assert_eq!(ask(UnixStream::connect(&host.unix).await.expect("it listens"), WHO).await, expected);
    let spaced = format!(" \r\n{WHO}");
    assert_eq!(ask(TcpStream::connect(host.tcp).await.expect("it listens"), &spaced).await, expected);

    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask(TcpStream::connect(host.tcp).await.expect("it listens"), request).await, "HTTP/1.1 200 OK\r\n");
    assert_eq!(ask(UnixStream::connect(&host.unix).await.expect("it listens"), request).await, "HTTP/1.1 200 OK\r\n");

    let client = websocket(host.tcp).await;
    assert_eq!(client.request::<Value, _>("who", rpc_params![]).await.expect("it answers"), own_uid());
    drop(client);
    host.stop().await;
}

#[tokio::test]
async fn garbage_is_closed_without_a_word() {
    let host = host().await;
    for garbage in ["\x16\x03\x01", "hello\n", "\0", "}"] {
        let mut socket = TcpStream::connect(host.tcp).await.expect("it listens");
        socket.write_all(garbage.as_bytes()).await.expect("it is connected");
        let mut answer = Vec::new();
        // Closed under bytes that were not read, a connection ends with a reset.
        let ended = socket.read_to_end(&mut answer).await;
        assert!(
            answer.is_empty() && ended.map_or_else(|error| error.kind() == io::ErrorKind::ConnectionReset, |_| true)
        );
    }
    host.stop().await;
}

#[tokio::test]
async fn a_websocket_has_the_same_parameters_errors_and_notifications() {
    let host = host().await;
    let client = websocket(host.tcp).await;
    assert_eq!(client.request::<u64, _>("count_to", rpc_params![]).await.expect("it answers"), 0);
    let mut named = jsonrpsee::core::params::ObjectParams::new();
    named.insert("to", 4).expect("a number is JSON");
    assert_eq!(client.request::<u64, _>("count_to", named).await.expect("it answers"), 4);

    let error = client.request::<Value, _>("no such", rpc_params![]).await.expect_err("there is no such method");
    let jsonrpsee::core::ClientError::Call(error) = error else { panic!("{error}") };
    assert_eq!((error.code(), error.message()), (-32601, "no method `no such`"));
    let error = client.request::<Value, _>("count_to", rpc_params!["x"]).await.expect_err("it takes an object");
    let jsonrpsee::core::ClientError::Call(error) = error else { panic!("{error}") };
    assert!(error.data().is_some_and(|data| data.get().contains("invalid_params")), "{error:?}");

    client.notification("note", rpc_params!["quietly"]).await.expect("it is sent");
    assert_eq!(client.request::<Value, _>("who", rpc_params![]).await.expect("it answers"), own_uid());
    while host.toy.begun().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.toy.begun(), ["quietly"]);
    drop(client);
    host.stop().await;
}

#[tokio::test]
async fn a_subscription_over_a_websocket_ends_with_its_connection() {
    let host = host().await;
    let client = websocket(host.tcp).await;
    let mut params = jsonrpsee::core::params::ObjectParams::new();
    params.insert("to", 2).expect("a number is JSON");
    let mut events: Subscription<u64> =
        client.subscribe("subscribe", params, "unsubscribe").await.expect("it is accepted");
    assert_eq!(events.next().await.expect("an event comes").expect("it is a number"), 0);
    assert_eq!(events.next().await.expect("an event comes").expect("it is a number"), 1);
    drop((events, client));
    host.toy.ended.acquire().await.expect("it is never closed").forget();
    host.stop().await;
}

#[tokio::test]
async fn a_host_that_stops_answers_what_is_going_on_and_closes_everything() {
    let host = host().await;
    let mut idle = TcpStream::connect(host.tcp).await.expect("it listens");
    let mut silent = BufReader::new(TcpStream::connect(host.tcp).await.expect("it listens"));
    silent.write_all(WHO.as_bytes()).await.expect("the host reads");
    silent.read_line(&mut String::new()).await.expect("it answers");
    let client = websocket(host.tcp).await;
    let calling = tokio::spawn(async move { client.request::<Value, _>("wait", rpc_params!["ws"]).await });
    let socket = TcpStream::connect(host.tcp).await.expect("it listens");
    let asking = tokio::spawn(ask(socket, "{\"method\":\"wait\",\"params\":[\"tcp\"],\"id\":1}\n"));
    while host.toy.begun().len() < 2 {
        tokio::task::yield_now().await;
    }

    let Host { tcp, unix, toy, shutdown, served, _directory } = host;
    shutdown.send(()).expect("it is served");
    // Idle connections are closed at once, the port and the file are free.
    assert_eq!(idle.read(&mut [0]).await.expect("closed in peace"), 0);
    assert_eq!(silent.read(&mut [0]).await.expect("closed in peace"), 0);
    assert!(!served.is_finished());
    toy.go_on.add_permits(2);
    assert_eq!(asking.await.expect("no panic"), "{\"id\":1,\"result\":\"tcp\",\"error\":null}\n");
    assert_eq!(calling.await.expect("no panic").expect("it is answered"), "ws");
    served.await.expect("no panic");
    assert!(TcpStream::connect(tcp).await.is_err());
    assert!(!unix.exists());
}

#[tokio::test]
async fn who_may_not_connect_is_refused_and_takes_no_place() {
    let (_, methods) = Toy::methods();
    let gate = Arc::new(Gate::new(methods.into(), Sink::default(), AccessPolicy::default(), MAX_CONNECTIONS));
    let stranger = Caller { uid: 4_000_000_001 };
    let mut clients = Vec::new();
    for _ in 0..MAX_REFUSALS {
        let (ours, theirs) = duplex(1024);
        gate.enter(theirs, stranger);
        clients.push(ours);
    }
    assert_eq!(gate.connections.available_permits(), MAX_CONNECTIONS as usize);
    let (mut ours, theirs) = duplex(1024);
    gate.enter(theirs, stranger);
    assert_eq!(ours.read(&mut [0]).await.expect("closed in peace"), 0);

    let client = clients.pop().expect("there are some");
    let answer = ask(client, WHO).await;
    assert!(answer.starts_with(r#"{"id":1,"result":null,"error":"uid 4000000001 may not use this host"#), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_connect_and_says_nothing_is_closed() {
    let (_, methods) = Toy::methods();
    let gate = Arc::new(Gate::new(methods.into(), Sink::default(), AccessPolicy::default(), MAX_CONNECTIONS));
    let (mut ours, theirs) = duplex(1024);
    gate.enter(theirs, Caller { uid: 4_000_000_001 });
    let before = tokio::time::Instant::now();
    assert_eq!(ours.read(&mut [0]).await.expect("closed in peace"), 0);
    assert_eq!(before.elapsed().as_secs(), REFUSAL_TIMEOUT.as_secs());
}

#[tokio::test]
async fn past_loopback_nothing_is_bound() {
    for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:0"] {
        let refused = Listeners::bind(&[address.parse().expect("an address")], None).await;
        assert!(matches!(refused, Err(BindError::PastLoopback(_))), "{address}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = Listeners::bind(&[any_port()], None).await.expect("a port is free");
    let Address::Tcp(address) = first.addresses()[0] else { panic!("it is a TCP address") };
    let error = Listeners::bind(&[address], None).await.err().expect("it is in use");
    assert!(matches!(&error, BindError::Tcp { source, .. } if source.kind() == io::ErrorKind::AddrInUse));
    assert_eq!(error.to_string(), format!("listen on {address}"));
}

#[tokio::test]
async fn the_file_of_a_dead_socket_is_replaced_and_no_other() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = directory.path().join("socket");
    let first = Listeners::bind(&[], Some(&path)).await.expect("it can be bound");
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Listeners::bind(&[], Some(&path)).await;
    assert!(matches!(second, Err(BindError::UnixInUse(_))));
    drop(first);
    assert!(!path.exists());

    // A socket that nobody listens on, as a host leaves it that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("it can be bound"));
    let third = Listeners::bind(&[], Some(&path)).await.expect("nobody listens");
    drop(third);

    fs::write(&path, "a letter").expect("it can be written");
    let fourth = Listeners::bind(&[], Some(&path)).await;
    assert!(matches!(fourth, Err(BindError::UnixNotASocket(_))));
    assert_eq!(fs::read_to_string(&path).expect("it is still there"), "a letter");
}

#[test]
fn connections_leave_files_for_others() {
    for (open_files, connections) in
        [(None, MAX_CONNECTIONS), (Some(1 << 40), MAX_CONNECTIONS), (Some(1024), 512), (Some(0), 1)]
    {
        assert_eq!(max_connections(open_files), connections, "{open_files:?}");
    }
}
