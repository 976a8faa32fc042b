//! What shows of a running program from outside, looked at again until it is so.

use std::io::Write;
use std::time::Duration;

use crate::running::{Running, answer, connection};

/// A metric of the server that says where its metrics are, by its name with its labels.
pub(crate) fn metric(server: &Running, name: &str) -> f64 {
    let metrics = server.log.split_once("metrics on http://").and_then(|(_, rest)| rest.split('/').next());
    let address = metrics.expect("it says where").parse().expect("an address");
    let mut stream = connection(address).expect("it accepts connections");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("it is sent");
    let (status, text) = answer(&mut stream);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    assert_eq!(status, 200);
    value.unwrap_or_else(|| panic!("{name} is no number in {text}"))
}

/// Looks again until it is so.
pub(crate) async fn becomes(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
