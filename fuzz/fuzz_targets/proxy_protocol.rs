//! A reader that takes what the parser asks for comes to an end within the bound, and takes nothing beyond the header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::gateway::proxy_header::{Origin, Progress, parse};

/// The fixed part of version 2, and the longest rest that is read.
const MAX_HEADER: usize = 16 + (4 << 10);

fuzz_target!(|connection: &[u8]| {
    let _ = parse(connection);
    let mut have = 0;
    let origin = loop {
        match parse(&connection[..have]) {
            Ok(Progress::Needs(more)) => {
                assert!(more > 0, "the reader would stand still at {have}");
                have += more;
                assert!(have <= MAX_HEADER);
                if have > connection.len() {
                    return;
                }
            }
            Ok(Progress::Done(origin)) => break origin,
            Err(_) => return,
        }
    };
    let header = &connection[..have];
    if let (Some(line), Origin::Client(client)) = (header.strip_prefix(b"PROXY "), origin) {
        // What was believed is what stands there.
        let line = std::str::from_utf8(line).unwrap();
        let parts: Vec<&str> = line.trim_end().split(' ').collect();
        assert_eq!(parts[0], if client.is_ipv4() { "TCP4" } else { "TCP6" });
        assert_eq!(parts[1].parse(), Ok(client.ip()));
        assert_eq!(parts[3].parse(), Ok(client.port()));
    }
});
