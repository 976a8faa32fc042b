//! TLS as libpq's URL parameters ask for it, by rustls.
//!
//! `sslmode` is `disable`, `prefer` (encrypted if the server can, unverified), `require` (encrypted, unverified unless
//! `sslrootcert` is given), `verify-ca` or `verify-full`. What the driver's own parser does not know is taken out of the
//! URL here.

use std::sync::Arc;

use konverse_store::StoreError;
use percent_encoding::percent_decode_str;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    server::ParsedCertificate,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How every connection to the server is made: those of the pool, and those that only cancel a query.
pub(crate) type Tls = MakeRustlsConnect;

/// What of the server's certificate is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// The parameters of a URL that are about TLS.
#[derive(Debug, Default)]
struct Wanted {
    mode: Option<String>,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// Takes what is about TLS out of a URL: what is left for the driver's own parser, and how connections are made.
pub(crate) fn take_out(url: &str) -> Result<(String, Tls), StoreError> {
    let (rest, wanted) = split(url)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (mode, verify) = wanted.mode()?;
    let verifier = Verifier::new(&provider, verify, wanted.roots.as_deref())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS", &error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (&wanted.certificate, &wanted.key) {
        (None, None) => config.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("sslkey", &error))?;
            let chain = certificates("sslcert", certificate)?;
            config.with_client_auth_cert(chain, key).map_err(|error| wrong("sslcert and sslkey", &error))?
        }
        _ => return Err(StoreError::Database("sslcert and sslkey belong together: name both or none".into())),
    };
    let separator = if rest.contains('?') { '&' } else { '?' };
    Ok((format!("{rest}{separator}sslmode={mode}"), MakeRustlsConnect::new(config)))
}

fn split(url: &str) -> Result<(String, Wanted), StoreError> {
    let mut wanted = Wanted::default();
    let Some((place, query)) = url.split_once('?') else { return Ok((url.to_owned(), wanted)) };
    let mut others = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name {
            "sslmode" => &mut wanted.mode,
            "sslrootcert" => &mut wanted.roots,
            "sslcert" => &mut wanted.certificate,
            "sslkey" => &mut wanted.key,
            _ => {
                others.push(pair);
                continue;
            }
        };
        let value = percent_decode_str(value).decode_utf8();
        *slot = Some(value.map_err(|error| wrong(name, &error))?.into_owned()).filter(|value| !value.is_empty());
    }
    let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    Ok((format!("{place}{query}"), wanted))
}

impl Wanted {
    /// What the driver is told, and what is verified.
    fn mode(&self) -> Result<(&'static str, Verify), StoreError> {
        // As in libpq: whoever names an authority wants it looked at, and the system's vouch for names only.
        let by_file = if self.roots.is_some() { Verify::Authority } else { Verify::Nothing };
        let is_system = self.roots.as_deref() == Some(SYSTEM);
        match (self.mode.as_deref(), is_system) {
            (None | Some("verify-full"), true) | (Some("verify-full"), false) => {
                Ok(("require", Verify::AuthorityAndName))
            }
            (Some("disable"), _) => Ok(("disable", Verify::Nothing)),
            (Some(_), true) => {
                Err(StoreError::Database("sslrootcert=system needs sslmode=verify-full, or no sslmode".into()))
            }
            (None | Some("prefer"), false) => Ok(("prefer", by_file)),
            (Some("require"), false) => Ok(("require", by_file)),
            // Of the system's authorities anybody has a certificate: without the name it says nothing.
            (Some("verify-ca"), false) if self.roots.is_none() => {
                Err(StoreError::Database("sslmode=verify-ca needs sslrootcert=FILE; take verify-full otherwise".into()))
            }
            (Some("verify-ca"), false) => Ok(("require", Verify::Authority)),
            (Some(_), false) => {
                Err(StoreError::Database("sslmode must be disable, prefer, require, verify-ca or verify-full".into()))
            }
        }
    }
}

/// The value of `sslrootcert` that names the system's authorities.
const SYSTEM: &str = "system";

fn wrong(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Database(format!("{what}: {error}"))
}

fn certificates(parameter: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| wrong(parameter, &format!("{file}: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong(parameter, &format!("{file} has no certificate")));
    }
    Ok(certificates)
}

/// Looks at a server's certificate, as far as it is wanted.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    verify: Verify,
    /// Nothing where nothing is verified.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Those of the file, one of which may be the server's own.
    trusted: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(provider: &Arc<CryptoProvider>, verify: Verify, file: Option<&str>) -> Result<Self, StoreError> {
        let provider = Arc::clone(provider);
        if verify == Verify::Nothing {
            return Ok(Self { provider, verify, authorities: None, trusted: Vec::new() });
        }
        let mut roots = RootCertStore::empty();
        let trusted = match file.filter(|file| *file != SYSTEM) {
            Some(file) => {
                let trusted = certificates("sslrootcert", file)?;
                roots.add_parsable_certificates(trusted.iter().cloned());
                trusted
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
                if roots.is_empty() {
                    let reasons: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
                    let reasons = format!("the system has no authorities; name a file: {}", reasons.join(", "));
                    return Err(wrong("sslrootcert", &reasons));
                }
                Vec::new()
            }
        };
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let authorities = authorities.build().map_err(|error| wrong("sslrootcert", &error))?;
        Ok(Self { provider, verify, authorities: Some(authorities), trusted })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        if self.trusted.contains(end_entity) {
            // A server's own certificate that was handed out instead of an authority's.
            if self.verify == Verify::AuthorityAndName {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::Authority => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{Verify, split};

    #[test]
    fn what_is_about_tls_is_taken_out_of_a_url() {
        let url = "postgres://ada@host/db?connect_timeout=3&sslmode=verify-ca&sslrootcert=%2Froot%20ca.pem&host=x";
        let (rest, wanted) = split(url).expect("it is a URL");
        assert_eq!(rest, "postgres://ada@host/db?connect_timeout=3&host=x");
        assert_eq!(wanted.roots.as_deref(), Some("/root ca.pem"));
        assert_eq!(wanted.mode().expect("a mode"), ("require", Verify::Authority));
    }

    #[test]
    fn modes_mean_what_they_mean_to_libpq() {
        let mode = |query: &str| {
            let (_, wanted) = split(&format!("postgres://host/db?{query}")).expect("it is a URL");
            wanted.mode().map_err(|error| error.to_string())
        };
        for (query, expected) in [
            ("", ("prefer", Verify::Nothing)),
            ("sslmode=disable", ("disable", Verify::Nothing)),
            ("sslmode=require", ("require", Verify::Nothing)),
            ("sslmode=require&sslrootcert=f", ("require", Verify::Authority)),
            ("sslmode=verify-ca&sslrootcert=f", ("require", Verify::Authority)),
            ("sslmode=verify-full&sslrootcert=f", ("require", Verify::AuthorityAndName)),
            ("sslmode=verify-full", ("require", Verify::AuthorityAndName)),
            ("sslrootcert=system", ("require", Verify::AuthorityAndName)),
        ] {
            assert_eq!(mode(query), Ok(expected), "{query}");
        }
        for query in ["sslmode=allow", "sslmode=REQUIRE", "sslmode=require&sslrootcert=system", "sslmode=verify-ca"] {
            mode(query).expect_err(query);
        }
    }
}
