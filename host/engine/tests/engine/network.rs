//! What guests reach of the network by sockets and lookups. Nothing leaves the machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use taskhost_core::outcome::Outcome;
use taskhost_core::spec::Limit;

use crate::host::{Host, Task, texts};

/// Accepts connections for as long as the test goes on, and answers what came first with so many bytes of `x` after it.
fn tcp_server(more_bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let mut bytes = [0; 1000];
            let read = connection.read(&mut bytes).unwrap_or(0);
            // The guest may be gone.
            drop(connection.write_all(&bytes[..read]).and_then(|()| connection.write_all(&vec![b'x'; more_bytes])));
        }
    });
    address
}

fn udp_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let mut bytes = [0; 1000];
        while let Ok((read, from)) = socket.recv_from(&mut bytes) {
            drop(socket.send_to(&bytes[..read], from));
        }
    });
    address
}

async fn lines_of(task: Task) -> Vec<String> {
    let (report, lines) = Host::new().run(&task).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?} {lines:?}");
    texts(&lines)
}

#[tokio::test]
async fn sockets_connect_where_an_address_is_granted() {
    let (tcp, udp) = (tcp_server(0).to_string(), udp_server().to_string());
    let task = Task::reach(&["tcp", &tcp, "over TCP", "udp", &udp, "over UDP"]).host(&tcp).host(&udp);
    assert_eq!(lines_of(task).await, ["stdout: tcp: over TCP", "stdout: udp: over UDP"]);
    let net = Task::reach(&["tcp", &tcp, "by its net"]).host("127.0.0.0/8:*");
    assert_eq!(lines_of(net).await, ["stdout: tcp: by its net"]);
}

#[tokio::test]
async fn sockets_connect_nowhere_else() {
    let (tcp, udp) = (tcp_server(0).to_string(), udp_server().to_string());
    let refused = ["stdout: tcp failed: access-denied", "stdout: udp failed: access-denied"];
    let steps = ["tcp", &tcp, "x", "udp", &udp, "x"];
    let mut lines = lines_of(Task::reach(&steps)).await;
    assert_eq!(lines.remove(0), "host: denied: a socket; allow hosts with --allow-host HOST:PORT");
    assert_eq!(lines, refused);
    // Not by every name and public address, nor by another port.
    for pattern in ["*:*", "127.0.0.1:1", "10.0.0.0/8:*", "localhost:1"] {
        let mut lines = lines_of(Task::reach(&steps).host(pattern)).await;
        let denial = format!("host: denied: connecting to {tcp}; allow it with --allow-host {tcp}");
        assert_eq!(lines.remove(0), denial, "{pattern}");
        assert_eq!(lines[0], refused[0]);
        assert!(lines[1].starts_with("stdout: udp failed: "), "{lines:?}");
    }
}

#[tokio::test]
async fn nothing_listens() {
    let lines =
        lines_of(Task::reach(&["listen", "127.0.0.1:0", "listen", "0.0.0.0:0", "listen", "0.0.0.0:80"]).host("*:*"))
            .await;
    assert_eq!(lines[0], "host: denied: listening at 127.0.0.1:0; plugins connect, and nothing connects to them");
    assert_eq!(lines[1..], ["stdout: listen failed: access-denied"; 3].map(str::to_owned));
}

#[tokio::test]
async fn a_name_is_looked_up_where_it_is_granted_and_leads_where_its_address_is() {
    let tcp = tcp_server(0);
    let by_name = format!("localhost:{}", tcp.port());
    let granted = Task::reach(&["tcp", &by_name, "by name", "look-up", "localhost"]).host(&by_name);
    let lines = lines_of(granted).await;
    assert_eq!(lines[0], "stdout: tcp: by name");
    assert!(lines[1].contains("127, 0, 0, 1") || lines[1].contains("(127,"), "{lines:?}");

    let lines = lines_of(Task::reach(&["look-up", "localhost"]).host("example.com:80")).await;
    assert_eq!(lines[0], "host: denied: looking up localhost; allow it with --allow-host localhost:PORT");
    assert_eq!(lines[1], "stdout: look-up failed: access-denied");
    let lines = lines_of(Task::reach(&["look-up", "localhost"])).await;
    assert!(lines[0].starts_with("host: denied: looking up localhost;"), "{lines:?}");

    // Every name may be looked up, and the answers are the host's own network.
    let lines =
        lines_of(Task::reach(&["look-up", "localhost", "look-up", "127.0.0.1", "tcp", &by_name, "x"]).host("*:*"))
            .await;
    assert!(lines[0].contains("the address of `localhost`, is not public; allow it with --allow-host"), "{lines:?}");
    assert_eq!(lines[1], "stdout: look-up: []");
    assert_eq!(lines[2], "stdout: look-up failed: access-denied");
    assert_eq!(lines[3], "stdout: tcp failed: no address");
}

#[tokio::test]
async fn connections_past_the_limit_are_refused_and_the_attempt_that_fails_of_it_says_so() {
    let tcp = tcp_server(0).to_string();
    let host = Host::with_ceiling(Limit::Connections, 2);
    let steps = ["tcp", &tcp, "1", "tcp", &tcp, "2", "tcp", &tcp, "3"];
    let (report, lines) = host.run(&Task::reach(&steps).host(&tcp)).await;
    assert_eq!(report.outcome, Outcome::Success, "it made do");
    assert_eq!(texts(&lines), ["stdout: tcp: 1", "stdout: tcp: 2", "stdout: tcp failed: access-denied"]);
    let (report, _) = host.run(&Task::reach(&[&steps[..], &["fail"]].concat()).host(&tcp)).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::LimitExceeded, Some("connections")));
}

#[tokio::test]
async fn an_attempt_that_receives_too_much_ends() {
    let (tcp, udp) = (tcp_server(200_000).to_string(), udp_server().to_string());
    let host = Host::with_ceiling(Limit::ResponseBytes, 100_000);
    let (report, lines) = host.run(&Task::reach(&["tcp", &tcp, "x"]).host(&tcp)).await;
    assert_eq!(
        (report.outcome, report.detail.as_deref()),
        (Outcome::LimitExceeded, Some("response_bytes")),
        "{lines:?}"
    );
    let host = Host::with_ceiling(Limit::ResponseBytes, 3);
    let (report, _) = host.run(&Task::reach(&["udp", &udp, "four"]).host(&udp)).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::LimitExceeded, Some("response_bytes")));
}
