//! Where one HTTP/1 request ends and the next begins, as far as the edge has to know it: whether the bytes that came are a
//! part of a head, and whether a head gives its body's length in two ways.
//!
//! This decides nothing about a request: hyper reads it. Of a head with `Content-Length` and `Transfer-Encoding` hyper
//! shows only one, so that nobody behind it could refuse what two readers may understand in two ways (RFC 9112 §6.1).

use memchr::memchr;

/// Bytes of a line from which on the framing is not followed any longer. hyper refuses such a head.
const LONGEST_LINE: usize = 64 * 1024;

/// Follows the bytes of a connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    at: At,
    /// What has come of a line that is not there wholly.
    line: Vec<u8>,
    heads: u64,
    head: Head,
}

/// What is known of the head that is coming.
#[derive(Debug, Default)]
struct Head {
    begun: bool,
    has_request_line: bool,
    length: Option<u64>,
    transfer_encoding: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In a head, or before one.
    #[default]
    Head,
    /// So many bytes of a body, or of a chunk and the line end behind it, are still to come.
    Body(u64),
    Chunk(u64),
    ChunkSize,
    Trailer,
    /// It is no HTTP/1, or not followed any longer.
    Nowhere,
}

impl Framing {
    /// Takes note of what was read. The answer is the number, from 1, of a head that gives a length in two ways; the last
    /// one, since no request follows it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Option<u64> {
        while !bytes.is_empty() {
            match self.at {
                At::Nowhere => return None,
                At::Body(left) | At::Chunk(left) => {
                    let taken = left.min(bytes.len() as u64);
                    bytes = &bytes[taken as usize..];
                    self.at = match self.at {
                        At::Chunk(_) if left == taken => At::ChunkSize,
                        At::Chunk(_) => At::Chunk(left - taken),
                        _ if left == taken => At::Head,
                        _ => At::Body(left - taken),
                    };
                }
                At::Head | At::ChunkSize | At::Trailer => {
                    self.head.begun |= self.at == At::Head;
                    let Some(end) = memchr(b'\n', bytes) else {
                        self.line.extend_from_slice(bytes);
                        if self.line.len() > LONGEST_LINE {
                            (self.at, self.line) = (At::Nowhere, Vec::new());
                        }
                        return None;
                    };
                    let (line, rest) = bytes.split_at(end + 1);
                    bytes = rest;
                    let is_ambiguous = if self.line.is_empty() {
                        self.take(line)
                    } else {
                        let mut whole = std::mem::take(&mut self.line);
                        whole.extend_from_slice(line);
                        self.take(&whole)
                    };
                    if is_ambiguous {
                        self.at = At::Nowhere;
                        return Some(self.heads);
                    }
                }
            }
        }
        None
    }

    /// Whether a part of a head has come.
    pub(super) fn in_head(&self) -> bool {
        self.at == At::Head && self.head.begun
    }

    /// Whether a part of a request is still to come.
    pub(super) fn in_request(&self) -> bool {
        self.at != At::Nowhere && (self.at != At::Head || self.head.begun)
    }

    /// Takes a whole line. Whether it ends a head that gives a length in two ways.
    fn take(&mut self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.at {
            At::Head if line.is_empty() => {
                // Empty lines before a request are passed over.
                if self.head.has_request_line {
                    return self.end_head();
                }
            }
            At::Head if !self.head.has_request_line => {
                self.head.has_request_line = true;
                if line == b"PRI * HTTP/2.0" {
                    self.at = At::Nowhere;
                }
            }
            At::Head => {
                if let Some(value) = value_of(line, b"content-length") {
                    // hyper refuses what is no number, and two that differ.
                    self.head.length = Some(number(value, 10).unwrap_or(0));
                } else if value_of(line, b"transfer-encoding").is_some() {
                    self.head.transfer_encoding = true;
                }
            }
            At::ChunkSize => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                self.at = match number(size, 16) {
                    Some(0) => At::Trailer,
                    Some(size) => At::Chunk(size.saturating_add(2)),
                    None => At::Nowhere,
                };
            }
            At::Trailer if line.is_empty() => self.at = At::Head,
            At::Trailer | At::Body(_) | At::Chunk(_) | At::Nowhere => {}
        }
        false
    }

    fn end_head(&mut self) -> bool {
        let head = std::mem::take(&mut self.head);
        self.heads += 1;
        self.at = match head.length {
            _ if head.transfer_encoding => At::ChunkSize,
            Some(length) if length > 0 => At::Body(length),
            _ => At::Head,
        };
        head.transfer_encoding && head.length.is_some()
    }
}

/// The value of a header line that has this name.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?.trim(), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads it at once, and byte by byte: the number of the ambiguous head, and where it ends.
    fn read(text: &str) -> (Option<u64>, At) {
        let mut whole = Framing::default();
        let found = whole.read(text.as_bytes());
        let mut slow = Framing::default();
        let found_slowly = text.bytes().filter_map(|byte| slow.read(&[byte])).next();
        assert_eq!((found, whole.at), (found_slowly, slow.at), "{text}");
        (found, whole.at)
    }

    #[test]
    fn requests_are_told_apart() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let sized = "POST / HTTP/1.1\r\nContent-Length:  5 \r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhe\n\nl\r\n0\r\nx: y\r\n\r\n";
        for (text, at) in [
            (get.to_owned(), At::Head),
            (format!("\r\n{get}\n\n"), At::Head),
            (format!("{sized}hel"), At::Body(2)),
            (format!("{sized}hello{get}"), At::Head),
            (format!("{chunked}{get}"), At::Head),
            (chunked.split_once("\n\nl").map(|(start, _)| start.to_owned()).unwrap_or_default(), At::Chunk(5)),
            (get.replace('\r', ""), At::Head),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), At::Nowhere),
            (chunked.replace("5;", "x;"), At::Nowhere),
        ] {
            assert_eq!(read(&text), (None, at), "{text}");
        }
        let mut framing = Framing::default();
        assert!(!framing.in_head() && !framing.in_request());
        framing.read(get.as_bytes());
        assert!(!framing.in_head() && !framing.in_request());
        framing.read(b"G");
        assert!(framing.in_head() && framing.in_request());
        framing.read(b"ET / HTTP/1.1\r\ncontent-length: 2\r\n\r\n1");
        assert!(!framing.in_head() && framing.in_request());
    }

    #[test]
    fn a_length_given_twice_is_found_wherever_it_is() {
        let get = "GET / HTTP/1.1\r\n\r\n";
        for headers in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "Transfer-Encoding: chunked\r\nhost: a\r\nCONTENT-LENGTH: 5",
            "transfer-encoding: chunked\r\ncontent-length: nonsense",
        ] {
            let both = format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n0\r\n\r\n");
            assert_eq!(read(&both), (Some(1), At::Nowhere), "{headers}");
            assert_eq!(read(&format!("{get}{get}{both}")), (Some(3), At::Nowhere), "{headers}");
        }
        let sized = "POST / HTTP/1.1\r\ncontent-length: 28\r\n\r\ntransfer-encoding: chunked\r\n";
        assert_eq!(read(&sized.repeat(2)).0, None, "a body is no head");
    }
}
