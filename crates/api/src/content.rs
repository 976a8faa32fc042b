//! What is sent: a body with its tag and its compressed forms, each made when it is first asked for.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xxhash_rust::xxh3::xxh3_128;

/// The least bytes that are compressed: less fits into one or two packets anyway.
const LEAST: usize = 1024;

/// Bytes up to which compressing is done where the request is: a millisecond's work at most. More goes to a thread that
/// may be kept.
const INLINE: usize = 256 * 1024;

/// The levels: what a page of the list costs with them, and what higher ones would save, is on the benchmark page.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// A body.
#[derive(Debug)]
pub(crate) struct Content {
    body: Bytes,
    hash: OnceLock<[u8; TAG]>,
    gzip: OnceLock<Bytes>,
    zstd: OnceLock<Bytes>,
}

/// Who may compress a long body: as many at a time as there are processors. Nobody waits for a turn, since a body would
/// wait with it, and bodies that wait are memory that nobody counts.
pub(crate) struct Presses(Arc<Semaphore>);

/// A turn at compressing a long body.
pub(crate) type Turn = OwnedSemaphorePermit;

impl Presses {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))))
    }
}

/// Characters of a tag without its quotes and what names the form.
const TAG: usize = 22;

/// A form in which a body can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// What `content-encoding` calls it.
    pub(crate) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// The form a caller likes best of those it accepts (RFC 9110 §12.5.3). Of two it likes as much, zstd: it is
    /// smaller by a third and costs a little more. A caller that says nothing, or forbids everything, gets the body as it is.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let (mut best, mut most) = (Self::Identity, 0);
        let values =
            headers.get_all(axum::http::header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for entry in values.flat_map(|text| text.split(',')) {
            let (name, parameter) = entry.split_once(';').unwrap_or((entry, "q=1"));
            let name = name.trim();
            let coding = [Self::Gzip, Self::Zstd].into_iter().find(|coding| {
                coding.name().is_some_and(|known| name.eq_ignore_ascii_case(known))
                    || *coding == Self::Gzip && name.eq_ignore_ascii_case("x-gzip")
            });
            let (Some(coding), Some(quality)) = (coding, quality(parameter)) else { continue };
            if quality > most || quality == most && quality > 0 && coding == Self::Zstd {
                (best, most) = (coding, quality);
            }
        }
        best
    }
}

/// A weight in thousandths.
fn quality(parameter: &str) -> Option<u16> {
    let value = parameter.trim().strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('=')?.trim();
    let value: f32 = value.parse().ok()?;
    (0.0..=1.0).contains(&value).then_some((value * 1000.0) as u16)
}

impl Content {
    pub(crate) fn new(body: Bytes) -> Self {
        Self { body, hash: OnceLock::new(), gzip: OnceLock::new(), zstd: OnceLock::new() }
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// A form of the body that is worth sending: short ones are sent as they are.
    pub(crate) fn coding(&self, accepted: Coding) -> Coding {
        if self.body.len() < LEAST { Coding::Identity } else { accepted }
    }

    /// The form that can be made now: the body as it is where it is long and all who may compress are at it.
    pub(crate) fn turn(&self, coding: Coding, presses: &Presses) -> (Coding, Option<Turn>) {
        let is_made = match coding {
            Coding::Identity => true,
            Coding::Gzip => self.gzip.get().is_some(),
            Coding::Zstd => self.zstd.get().is_some(),
        };
        if is_made || self.body.len() <= INLINE {
            return (coding, None);
        }
        Arc::clone(&presses.0).try_acquire_owned().map_or((Coding::Identity, None), |turn| (coding, Some(turn)))
    }

    /// The body in a form.
    pub(crate) async fn coded(self: &Arc<Self>, coding: Coding, turn: Option<Turn>) -> io::Result<Bytes> {
        let place = match coding {
            Coding::Identity => return Ok(self.body.clone()),
            Coding::Gzip => &self.gzip,
            Coding::Zstd => &self.zstd,
        };
        if let Some(bytes) = place.get() {
            return Ok(bytes.clone());
        }
        let bytes = if self.body.len() <= INLINE {
            compress(&self.body, coding)?
        } else {
            let body = self.body.clone();
            let work = move || {
                // Also when the caller has gone: the work goes on, and holds the body.
                let _turn = turn;
                compress(&body, coding)
            };
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??
        };
        Ok(place.get_or_init(|| bytes).clone())
    }

    /// A strong tag (RFC 9110 §8.8.3): equal for equal bytes in the same form, on whatever server.
    pub(crate) fn tag(&self, coding: Coding) -> HeaderValue {
        let hash = self.hash.get_or_init(|| {
            let mut text = [0; TAG];
            // 16 bytes are 22 characters.
            let _ = URL_SAFE_NO_PAD.encode_slice(xxh3_128(&self.body).to_be_bytes(), &mut text);
            text
        });
        let form: &[u8] = match coding {
            Coding::Identity => b"",
            Coding::Gzip => b"-gzip",
            Coding::Zstd => b"-zstd",
        };
        let text = [b"\"", hash.as_slice(), form, b"\""].concat();
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

fn compress(body: &[u8], coding: Coding) -> io::Result<Bytes> {
    match coding {
        Coding::Identity => Ok(Bytes::copy_from_slice(body)),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(GZIP_LEVEL));
            encoder.write_all(body)?;
            encoder.finish().map(Bytes::from)
        }
        Coding::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL).map(Bytes::from),
    }
}

/// Whether a caller's `If-None-Match` names this tag, weak or strong (RFC 9110 §13.1.2).
pub(crate) fn has(if_none_match: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(given), Ok(tag)) = (if_none_match.to_str(), tag.to_str()) else { return false };
    given.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn accepted(text: &'static str) -> Coding {
        let mut headers = HeaderMap::new();
        headers.insert(axum::http::header::ACCEPT_ENCODING, HeaderValue::from_static(text));
        Coding::accepted(&headers)
    }

    #[test]
    fn the_form_is_one_the_caller_accepts() {
        assert_eq!(Coding::accepted(&HeaderMap::new()), Coding::Identity);
        for (text, coding) in [
            ("gzip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("GZIP;q=0.5", Coding::Gzip),
            ("gzip, deflate, br, zstd", Coding::Zstd),
            ("zstd;q=0.4, gzip;q=0.5", Coding::Gzip),
            ("gzip;q=0, zstd;q=0.001", Coding::Zstd),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=2", Coding::Identity),
            ("gzip;level=9", Coding::Identity),
            ("identity, br", Coding::Identity),
            ("*", Coding::Identity),
            ("", Coding::Identity),
            (",;,=", Coding::Identity),
        ] {
            assert_eq!(accepted(text), coding, "{text}");
        }
    }

    #[tokio::test]
    async fn every_form_holds_the_same_bytes() {
        for length in [LEAST, INLINE + 1] {
            let body: Bytes = (0..length).map(|n| b"conversation"[n % 12]).collect();
            let content = Arc::new(Content::new(body.clone()));
            let gzip = content.coded(Coding::Gzip, None).await.expect("it compresses");
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&*gzip).read_to_end(&mut read).expect("gzip");
            assert!(read == body && gzip.len() < length);
            let zstd = content.coded(Coding::Zstd, None).await.expect("it compresses");
            assert!(zstd::bulk::decompress(&zstd, length).expect("zstd") == body && zstd.len() < length);
            assert_eq!(content.coded(Coding::Identity, None).await.expect("bytes"), body);
        }
    }

    #[tokio::test]
    async fn a_long_body_for_which_there_is_no_turn_goes_as_it_is() {
        let presses = Presses(Arc::new(Semaphore::new(1)));
        let [short, long, other] =
            [INLINE, INLINE + 1, INLINE + 2].map(|n| Arc::new(Content::new(vec![b'a'; n].into())));
        let (coding, turn) = long.turn(Coding::Gzip, &presses);
        assert!(coding == Coding::Gzip && turn.is_some());
        assert_eq!(other.turn(Coding::Gzip, &presses).0, Coding::Identity);
        assert_eq!(short.turn(Coding::Zstd, &presses).0, Coding::Zstd, "it needs none");
        long.coded(coding, turn).await.expect("it compresses");
        let (coding, turn) = other.turn(Coding::Gzip, &presses);
        assert!(coding == Coding::Gzip && turn.is_some(), "the turn was given back");
        assert_eq!(long.turn(Coding::Gzip, &presses).0, Coding::Gzip, "it is made already");
        assert_eq!(long.turn(Coding::Zstd, &presses).0, Coding::Identity);
    }

    #[test]
    fn a_tag_is_of_the_bytes_and_the_form() {
        let [one, same, other] = ["a", "a", "b"].map(|body| Content::new(Bytes::from(body)));
        let tag = one.tag(Coding::Identity);
        assert_eq!(tag, same.tag(Coding::Identity));
        assert_ne!(tag, other.tag(Coding::Identity));
        assert_ne!(tag, one.tag(Coding::Gzip));
        assert_eq!(tag.len(), TAG + 2);
    }

    #[test]
    fn a_caller_that_has_it_is_recognised() {
        let content = Content::new(Bytes::from("a"));
        let tag = content.tag(Coding::Identity);
        let text = tag.to_str().expect("ASCII");
        for given in [text.to_owned(), format!("W/{text}"), format!("\"x\", {text}"), "*".to_owned()] {
            assert!(has(&HeaderValue::from_str(&given).expect("a header"), &tag), "{given}");
        }
        assert!(!has(&content.tag(Coding::Gzip), &tag), "what it has is in another form");
        let other = Content::new(Bytes::from("b")).tag(Coding::Identity);
        for given in
            [other, HeaderValue::from_static("\"\""), HeaderValue::from_static("x"), HeaderValue::from_static("")]
        {
            assert!(!has(&given, &tag), "{given:?}");
        }
    }
}
