//! TLS by the program itself: a certificate and its key in PEM files, read anew when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How often the files are looked at. They are small, and what counts is in them, not when they were changed.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// Where the certificate and the key are.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What the files held.
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// What connections are encrypted with.
pub(crate) struct Tls {
    files: TlsFiles,
    current: Mutex<TlsAcceptor>,
    /// What was found last, whether it could be used or not: it is said once. None when it could not be read.
    found: Mutex<Option<Pair>>,
}

impl Tls {
    /// Reads the files, which must fit each other.
    pub(crate) fn open(files: TlsFiles) -> anyhow::Result<Self> {
        let pair = files.read()?;
        let acceptor = files.acceptor(&pair)?;
        Ok(Self { files, current: Mutex::new(acceptor), found: Mutex::new(Some(pair)) })
    }

    /// What the next connection is encrypted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks whether the files have changed. What cannot be used changes nothing: the pair before stays.
    pub(crate) fn look(&self) {
        let read = self.files.read();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let used = match read {
            Ok(pair) if found.as_ref() == Some(&pair) => return,
            Ok(pair) => {
                let acceptor = self.files.acceptor(&pair);
                *found = Some(pair);
                acceptor
            }
            Err(_) if found.is_none() => return,
            Err(error) => {
                *found = None;
                Err(error)
            }
        };
        match used {
            Ok(acceptor) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = acceptor;
                tracing::info!("the certificate was read anew");
            }
            Err(error) => tracing::error!("the certificate before stays in use: {error:#}"),
        }
    }
}

impl TlsFiles {
    fn read(&self) -> anyhow::Result<Pair> {
        let read = |path: &Path, option| std::fs::read(path).with_context(|| format!("{option} {}", path.display()));
        Ok(Pair { certificate: read(&self.certificate, "--tls-cert")?, key: read(&self.key, "--tls-key")? })
    }

    fn acceptor(&self, pair: &Pair) -> anyhow::Result<TlsAcceptor> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pair.certificate)
            .collect::<Result<_, _>>()
            .with_context(|| format!("--tls-cert {certificate} is no PEM file"))?;
        if chain.is_empty() {
            bail!("--tls-cert {certificate} holds no certificate in PEM");
        }
        // Nothing of a key is repeated.
        let Ok(private) = PrivateKeyDer::from_pem_slice(&pair.key) else {
            bail!("--tls-key {key} holds no private key in PEM");
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("the versions of TLS")?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .with_context(|| format!("--tls-cert {certificate} and --tls-key {key} do not fit each other"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
