//! The line to a bridge on another machine: TLS with one pinned certificate, and a token.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use qt_plugin_api::serde_json::json;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
};

use crate::line::{Line, News};
use crate::options::{Options, is_loopback};

/// How long the connection and the handshake may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A shorter token can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// What a line is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// It takes the place of the line before.
    Trade,
    /// It looks, and leaves the host that trades alone.
    Doctor,
}

/// Connects, and proves both ends to each other.
///
/// # Errors
/// What failed and what to do.
pub(crate) fn connect(
    options: &Options,
    data_dir: &Path,
    purpose: Purpose,
) -> Result<(Arc<Line>, std::sync::mpsc::Receiver<News>), String> {
    let remote = options.remote.as_deref().unwrap_or_default();
    let token = token(&data_dir.join(options.token_file.as_deref().unwrap_or_default()))?;
    let socket = dial(remote)?;
    let host = remote.rsplit_once(':').map_or(remote, |(host, _)| host);
    let failed = |e: io::Error| format!("the bridge at {remote}: {e}");
    let streams = match &options.certificate {
        Some(path) => {
            secure(&data_dir.join(path), &socket, host).map_err(|e| format!("the bridge at {remote}: {e}"))?
        }
        None if is_loopback(host) => plain(&socket).map_err(failed)?,
        None => return Err("orders never travel in the clear: `certificate` is missing".to_owned()),
    };
    let end = socket.try_clone().map_err(failed)?;
    let cut = move || {
        end.shutdown(Shutdown::Both).ok();
    };
    let (line, news) = Line::new(streams.0, streams.1, Box::new(cut)).map_err(failed)?;
    let purpose = match purpose {
        Purpose::Trade => "trade",
        Purpose::Doctor => "doctor",
    };
    let why = match line.ask("auth", json!({ "token": token, "for": purpose }), CONNECT_WITHIN) {
        Ok(answer) if answer.ok => match socket.set_read_timeout(None) {
            Ok(()) => return Ok((line, news)),
            Err(e) => failed(e),
        },
        Ok(answer) => format!(
            "the bridge at {remote} refuses this host: {}. `token_file` must hold the token of the bridge's own \
             `token_file`, and both ends be of one release",
            answer.error
        ),
        Err(lost) => format!(
            "the bridge at {remote} does not answer ({lost}): does it speak TLS with the certificate in `certificate`?"
        ),
    };
    line.end(&why);
    Err(why)
}

fn dial(remote: &str) -> Result<TcpStream, String> {
    let addresses = remote
        .to_socket_addrs()
        .map_err(|e| format!("`remote` {remote} cannot be looked up: {e}"))?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(socket) => {
                socket.set_nodelay(true).ok();
                socket.set_read_timeout(Some(CONNECT_WITHIN)).ok();
                return Ok(socket);
            }
            Err(e) => why = e.to_string(),
        }
    }
    Err(format!(
        "the bridge at {remote} cannot be reached ({why}): is `bridge.py --listen` running there, and does its firewall \
         let this machine in?"
    ))
}

/// The token, which is only ever sent.
fn token(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("`token_file` {} cannot be read: {e}", path.display()))?;
    let token = text.trim_start_matches('\u{feff}').trim();
    if token.len() < SHORTEST_TOKEN {
        return Err(format!(
            "`token_file` {} holds fewer than {SHORTEST_TOKEN} characters",
            path.display()
        ));
    }
    Ok(token.to_owned())
}

type Streams = (Box<dyn Read + Send>, Box<dyn Write + Send>);

fn plain(socket: &TcpStream) -> io::Result<Streams> {
    Ok((Box::new(socket.try_clone()?), Box::new(socket.try_clone()?)))
}

fn secure(certificate: &Path, socket: &TcpStream, host: &str) -> Result<Streams, String> {
    let pinned = CertificateDer::from_pem_file(certificate)
        .map_err(|e| format!("`certificate` {} cannot be read: {e}", certificate.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned {
        certificate: pinned,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|e| e.to_string())?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
    let mut through = socket;
    while connection.is_handshaking() {
        connection.complete_io(&mut through).map_err(|e| match e.get_ref() {
            Some(inner) if inner.to_string().contains("UnknownIssuer") => format!(
                "it shows another certificate than the one in {}: take the bridge's own, or somebody stands in between",
                certificate.display()
            ),
            _ => format!("the TLS handshake failed: {e}"),
        })?;
    }
    let clone = || socket.try_clone().map_err(|e| e.to_string());
    let shared = Arc::new(Mutex::new(connection));
    Ok((
        Box::new(Reading {
            connection: Arc::clone(&shared),
            socket: clone()?,
        }),
        Box::new(Writing {
            connection: shared,
            socket: clone()?,
        }),
    ))
}

/// Takes one certificate and no other; names and dates do not matter, since nobody else has its key.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if shown.as_ref() == self.certificate.as_ref() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The reading side: it waits for bytes without the lock, so that the other side can write meanwhile.
struct Reading {
    connection: Arc<Mutex<ClientConnection>>,
    socket: TcpStream,
}

impl Read for Reading {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut bytes = [0; 16 << 10];
        loop {
            match self.plain(out) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            let count = self.socket.read(&mut bytes)?;
            if count == 0 {
                return Ok(0);
            }
            self.take(&bytes[..count])?;
        }
    }
}

impl Reading {
    fn plain(&self, out: &mut [u8]) -> io::Result<usize> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.reader().read(out)
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            connection.read_tls(&mut bytes)?;
            connection.process_new_packets().map_err(io::Error::other)?;
        }
        while connection.wants_write() {
            connection.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

struct Writing {
    connection: Arc<Mutex<ClientConnection>>,
    socket: TcpStream,
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connection.writer().write(bytes)?;
        while connection.wants_write() {
            connection.write_tls(&mut self.socket)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
