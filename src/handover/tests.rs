use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::wire::{Kind, receive, send, send_sockets};
use super::{Predecessor, Successor};

fn sockets() -> Vec<TcpListener> {
    (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect()
}

#[test]
fn sockets_and_counts_come_to_the_successor() {
    let (mut old, new) = UnixStream::pair().unwrap();
    let sockets = sockets();
    let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let successor = std::thread::spawn(move || {
        let mut predecessor = Predecessor::on(new).unwrap();
        let taken = predecessor.take_socket(addresses[1]).unwrap();
        assert!(predecessor.take_socket(addresses[1]).is_none(), "once");
        assert!(predecessor.take_socket("127.0.0.1:1".parse().unwrap()).is_none());
        assert_eq!(predecessor.prepared().unwrap(), b"counts");
        predecessor.serving().unwrap();
        taken.accept().unwrap();
    });
    send_sockets(&mut old, &sockets).unwrap();
    receive(&mut old, Kind::Prepared).unwrap();
    send(&mut old, Kind::Counts, b"counts").unwrap();
    receive(&mut old, Kind::Serving).unwrap();
    let address = sockets[1].local_addr().unwrap();
    drop(sockets); // the successor's listen on
    TcpStream::connect(address).unwrap();
    successor.join().unwrap();
}

#[test]
fn what_is_no_hand_over_is_refused() {
    for message in [&b""[..], b"\x01\0\0\0\0", b"\x02\0\0\0\0", b"GET / HTTP/1.1\r\n"] {
        let (mut old, new) = UnixStream::pair().unwrap();
        old.write_all(message).unwrap();
        drop(old);
        let taken = Predecessor::on(new).map(|predecessor| predecessor.sockets());
        assert!(taken.as_ref().is_err() || taken.as_ref().is_ok_and(|&sockets| sockets == 0), "{message:?}: {taken:?}");
    }
    let (mut old, mut new) = UnixStream::pair().unwrap();
    old.write_all(&[3, 0xff, 0xff, 0xff, 0xff]).unwrap();
    assert!(receive(&mut new, Kind::Counts).unwrap_err().to_string().contains("too long"));
    let (mut old, mut new) = UnixStream::pair().unwrap();
    old.write_all(&[3, 0, 0, 0, 9, b'x']).unwrap();
    drop(old);
    assert_eq!(receive(&mut new, Kind::Counts).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_successor_that_fails_leaves_everything_as_it_was() {
    let sockets = sockets();
    let counts = || -> Option<Vec<u8>> { panic!("nobody was ready for them") };
    let shell = |script: &str| {
        let arguments = vec!["-c".into(), script.into()];
        Successor::new("/bin/sh".into(), arguments).with_patience(Duration::from_millis(300))
    };
    let gone = shell("exit 3").hand_over(&sockets, counts).unwrap_err();
    assert!(gone.contains("has ended (exit status: 3)"), "{gone}");
    let silent = shell("exec sleep 1000").hand_over(&sockets, counts).unwrap_err();
    assert_eq!(silent, "the new process was not ready in time");
    let missing = Successor::new("/nonexistent/portcullis".into(), Vec::new());
    let missing = missing.hand_over(&sockets, counts).unwrap_err();
    assert!(missing.starts_with("cannot start /nonexistent/portcullis"), "{missing}");
    TcpStream::connect(sockets[0].local_addr().unwrap()).unwrap();
}
