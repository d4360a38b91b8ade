//! A name server on a free port of loopback, by UDP and TCP, whose answers change under way.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// A name server that ends with this value. Names that it was not told of do not exist.
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Zone>,
}

#[derive(Default)]
struct Zone {
    entries: Mutex<HashMap<Name, Entry>>,
    /// How often each name's IPv4 addresses were asked for.
    asked: Mutex<HashMap<Name, usize>>,
    asked_by_tcp: Mutex<usize>,
    ended: AtomicBool,
}

#[derive(Clone)]
enum Entry {
    Addresses(Vec<IpAddr>, u32),
    Alias(Name, u32),
    Failing,
    Silent,
}

impl DnsServer {
    /// Starts one that knows no name.
    pub fn start() -> Self {
        let (udp, tcp) = sockets();
        let server = Self { address: udp.local_addr().unwrap(), zone: Arc::default() };
        let zone = server.zone.clone();
        std::thread::spawn(move || zone.serve_udp(&udp));
        let zone = server.zone.clone();
        std::thread::spawn(move || zone.serve_tcp(&tcp));
        server
    }

    /// Its address, for both protocols.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, `name` has these addresses for so many seconds.
    pub fn set(&self, name: &str, addresses: &[IpAddr], ttl_seconds: u32) {
        self.enter(name, Entry::Addresses(addresses.to_vec(), ttl_seconds));
    }

    /// From now on, `name` is another name for `target`.
    pub fn alias(&self, name: &str, target: &str, ttl_seconds: u32) {
        self.enter(name, Entry::Alias(full(target), ttl_seconds));
    }

    /// From now on, questions for `name` are answered with SERVFAIL.
    pub fn fail(&self, name: &str) {
        self.enter(name, Entry::Failing);
    }

    /// From now on, questions for `name` are not answered.
    pub fn silence(&self, name: &str) {
        self.enter(name, Entry::Silent);
    }

    /// How often the IPv4 addresses of `name` were asked for: once a lookup, and again when no answer comes.
    pub fn asked(&self, name: &str) -> usize {
        self.zone.asked.lock().unwrap().get(&full(name)).copied().unwrap_or_default()
    }

    /// How many questions came by TCP.
    pub fn asked_by_tcp(&self) -> usize {
        *self.zone.asked_by_tcp.lock().unwrap()
    }

    fn enter(&self, name: &str, entry: Entry) {
        self.zone.entries.lock().unwrap().insert(full(name), entry);
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.zone.ended.store(true, Ordering::SeqCst);
        // Both threads wait for something to come.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
        let _ = TcpStream::connect(self.address);
    }
}

impl Zone {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
            let Some(answer) = self.answer(&question) else { continue };
            let mut bytes = answer.to_vec().unwrap();
            if bytes.len() > question.max_payload().max(512).into() {
                bytes = answer.truncate().to_vec().unwrap();
            }
            let _ = socket.send_to(&bytes, peer);
        }
    }

    fn serve_tcp(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((connection, _)) = listener.accept() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let zone = self.clone();
            std::thread::spawn(move || zone.converse(connection)); // ends when the client does
        }
    }

    /// RFC 1035 §4.2.2: messages with their length before them. `None` is the end.
    fn converse(&self, mut connection: TcpStream) -> Option<()> {
        loop {
            let mut length = [0; 2];
            connection.read_exact(&mut length).ok()?;
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            connection.read_exact(&mut question).ok()?;
            *self.asked_by_tcp.lock().unwrap() += 1;
            let Some(answer) = self.answer(&Message::from_vec(&question).ok()?) else { continue };
            let bytes = answer.to_vec().unwrap();
            connection.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).ok()?;
            connection.write_all(&bytes).ok()?;
        }
    }

    fn answer(&self, question: &Message) -> Option<Message> {
        let query = question.queries.first()?;
        if query.query_type() == RecordType::A {
            *self.asked.lock().unwrap().entry(query.name().clone()).or_default() += 1;
        }
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        let entries = self.entries.lock().unwrap();
        let mut name = query.name();
        let code = loop {
            match entries.get(name) {
                None => break ResponseCode::NXDomain,
                Some(Entry::Silent) => return None,
                Some(Entry::Failing) => break ResponseCode::ServFail,
                Some(Entry::Alias(target, ttl)) => {
                    answer.add_answer(Record::from_rdata(name.clone(), *ttl, RData::CNAME(CNAME(target.clone()))));
                    name = target;
                }
                Some(Entry::Addresses(addresses, ttl)) => {
                    let records =
                        addresses.iter().map(|&address| Record::from_rdata(name.clone(), *ttl, address.into()));
                    answer.add_answers(records.filter(|record| record.record_type() == query.query_type()));
                    break ResponseCode::NoError;
                }
            }
        };
        answer.metadata.response_code = code;
        Some(answer)
    }
}

/// Sockets of both protocols on one port.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

fn full(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}
